"""Regions of an atlas in a folder of TemplateFlow, asked for by name."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from test_fmriprep_derivatives import ONE, derived, raw_runs

from bids_recon.preprocess.normalisation import Normalisation

TEMPLATE = "MNI152NLin2009cAsym"


@pytest.fixture
def planted(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """An atlas of two regions of 2 x 2 x 2 voxels, as they lie on the grid of the BOLD."""
    image = nib.load(raw_runs(tiny)[0])
    middle = np.array(image.shape[:3]) // 2
    labels = np.zeros(image.shape[:3], dtype=np.uint8)
    regions = {}
    for value, name in enumerate(("Front", "Back"), start=1):
        corner = middle + np.array([0, 2 if name == "Front" else -3, 0])
        block = tuple(slice(c, c + 2) for c in corner)
        labels[block] = value
        regions[name] = labels == value
    # The atlas has voxels of half the size, as atlases are finer than BOLD.
    affine = image.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] -= 0.25 * image.affine[:3, :3].sum(axis=1)
    folder = tmp_path / "templateflow" / f"tpl-{TEMPLATE}"
    folder.mkdir(parents=True)
    fine = labels.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    nib.save(nib.Nifti1Image(fine, affine), folder / f"tpl-{TEMPLATE}_res-02_atlas-Toy_dseg.nii.gz")
    (folder / f"tpl-{TEMPLATE}_atlas-Toy_dseg.tsv").write_text("index\tname\n1\tFront\n2\tBack\n")
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(folder.parent))
    return regions


def mask(out: Path, name: str) -> np.ndarray:
    file = sorted((out / "sub-01").rglob(f"*_label-{name}_mask.nii.gz"))[0]
    return nib.load(file).get_fdata() > 0


def test_an_atlas_in_the_space_of_the_bold(app, tiny, tmp_path, planted):
    root = derived(tiny, tmp_path / "prep", TEMPLATE, "20.2")
    called = app(
        tiny, tmp_path / "out", "participant", *ONE, "--derivatives", f"fmriprep={root}", "--offline",
        "--roi", "atlas:Toy",
    )  # fmt: skip
    assert called.code == 0, called.err
    for name, region in planted.items():
        np.testing.assert_array_equal(mask(tmp_path / "out", name), region)


def test_one_region_by_way_of_the_t1w_image(app, tiny, tmp_path, planted, monkeypatch):
    """The way to the template is a shift by a voxel here."""
    size = float(nib.load(raw_runs(tiny)[0]).affine[1, 1])
    shift = np.eye(4)
    shift[1, 3] = size
    way = Normalisation(
        shift, np.zeros((2, 2, 2, 3), dtype=np.float32), np.diag([500.0, 500, 500, 1]), TEMPLATE, 1.0, "dipy"
    )
    monkeypatch.setattr("bids_recon.workflow.atlas_regions.normalise", lambda *_, **__: way)
    monkeypatch.setattr("bids_recon.workflow.atlas_regions.load_template", lambda **_: None)
    root = derived(tiny, tmp_path / "prep", "T1w", "20.2")
    anat = root / "sub-01" / "anat"
    anat.mkdir(parents=True)
    t1w = next((tiny / "sub-01").rglob("*_T1w.nii.gz"))
    (anat / "sub-01_desc-preproc_T1w.nii.gz").write_bytes(t1w.read_bytes())
    called = app(
        tiny, tmp_path / "out", "participant", *ONE, "--derivatives", f"fmriprep={root}", "--offline",
        "--roi", "atlas:Toy:front",
    )  # fmt: skip
    assert called.code == 0, called.err
    # A point of the BOLD is found one voxel further to the front in the template.
    np.testing.assert_array_equal(mask(tmp_path / "out", "Front"), np.roll(planted["Front"], -1, axis=1))


@pytest.mark.parametrize(
    ("request_", "space", "expected"),
    [
        ("atlas:Missing", TEMPLATE, "Missing"),
        ("atlas:Toy:Side", TEMPLATE, "Front"),
        ("atlas:Toy", "T1w", "--output-spaces MNI152NLin2009cAsym"),
    ],
)
def test_what_is_missing_is_told(app, tiny, tmp_path, planted, request_, space, expected):
    root = derived(tiny, tmp_path / "prep", space, "20.2")
    called = app(
        tiny, tmp_path / "out", "participant", *ONE, "--derivatives", f"fmriprep={root}", "--offline",
        "--roi", request_,
    )  # fmt: skip
    assert called.code in (2, 66)
    assert expected in called.err
    assert "Traceback" not in called.err


def test_atlases_need_bold(app, tiny, tmp_path, planted):
    out = tmp_path / "out"
    assert app(tiny, out, "participant", *ONE, "--roi", "brain").code == 0
    called = app(
        tiny, tmp_path / "again", "participant", *ONE, "--derivatives", f"betas={out}", "--roi", "atlas:Toy"
    )
    assert called.code == 2
    assert "needs BOLD" in called.err
