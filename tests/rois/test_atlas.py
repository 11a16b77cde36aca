"""Atlases of a small made-up TemplateFlow folder; its client is replaced, so that nothing is downloaded."""

from __future__ import annotations

import gzip
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest

from bids_recon.errors import CannotCreateError, DataError, MissingInputError, UsageError
from bids_recon.rois.atlas import find_atlas, find_regions, list_cached_atlases, parse_request, read_region
from bids_recon.rois.templateflow_files import fetch, list_files, templateflow_home

ASYM, SIXTH = "MNI152NLin2009cAsym", "MNI152NLin6Asym"
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
LABELS = np.arange(8, dtype=np.uint8).reshape(2, 2, 2) % 4


def _percentages() -> np.ndarray:
    maps = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    maps[0, :, :, 0], maps[0, 0, :, 1], maps[1, 0, 0, 2] = 60, 30, 24
    return maps


def _save(folder: Path, template: str, rest: str, data: np.ndarray | str | None) -> Path:
    path = folder / f"tpl-{template}" / f"tpl-{template}_{rest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, str):
        path.write_text(data)
    elif data is None:
        path.touch()
    else:
        nibabel.save(nibabel.Nifti1Image(data, AFFINE), path)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Names and holes as the archive has them: labels without a table, tables from 0 and from 1."""
    folder = tmp_path / "templateflow"
    for desc in ("th0", "th25", "th50"):
        _save(folder, ASYM, f"res-02_atlas-HOCPA_desc-{desc}_dseg.nii.gz", LABELS + 10 * (desc == "th0"))
        _save(folder, ASYM, f"res-01_atlas-HOCPA_desc-{desc}_dseg.nii.gz", LABELS)
    names = "index\tname\n1\tFrontal Pole\n2\tLingual Gyrus\n3\tCuneal Cortex, all of it\n"
    _save(folder, SIXTH, "atlas-HOCPA_dseg.tsv", names)
    _save(folder, SIXTH, "res-02_atlas-HOCPA_probseg.nii.gz", _percentages())
    _save(folder, SIXTH, "res-02_atlas-HOCPA_desc-th25_dseg.nii.gz", LABELS)
    _save(folder, SIXTH, "res-01_atlas-HOCPAL_probseg.nii.gz", _percentages() / np.float32(100))
    _save(folder, SIXTH, "res-01_atlas-HOCPAL_desc-th25_dseg.nii.gz", LABELS)
    _save(folder, SIXTH, "atlas-HOCPAL_dseg.tsv", "index\tname\n0\tLeft Pole\n1\tRight Pole\n2\tLeft Gyrus\n")
    _save(folder, SIXTH, "res-02_atlas-HCP_dseg.nii.gz", LABELS * 5)
    for n in (100, 400):
        parcels = f"atlas-Schaefer2018_desc-{n}Parcels7Networks_dseg"
        _save(folder, ASYM, f"res-02_{parcels}.nii.gz", LABELS if n == 100 else None)
        _save(folder, ASYM, f"res-01_{parcels}.nii.gz", None)
        rows = ["1\t7Networks_LH_Vis_1\t#1", "2\t7Networks_RH_Vis_1\t#2", "3\t7Networks_LH_Default_1\t#3"]
        table = "\n".join(["index\tname\tcolor", *rows])
        _save(folder, ASYM, f"{parcels}.tsv", table)
    _save(
        folder, ASYM, "res-02_atlas-DiFuMo_desc-64dimensions_probseg.nii.gz", _percentages() / np.float32(900)
    )
    components = (
        "Component\tDifumo_names\tGM\n1\tFusiform gyrus\t0.8\n2\tCalcarine\t0.6\n3\tFusiform gyrus\t0.7\n"
    )
    _save(folder, ASYM, "atlas-DiFuMo_desc-64dimensions_probseg.tsv", components)
    _save(folder, ASYM, "res-02_T1w.nii.gz", None)
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(folder))
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection, and TemplateFlow's client itself, is a failure of the test."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setitem(sys.modules, "templateflow", SimpleNamespace(TemplateFlowClient=refuse))


class Client:
    """Stands for TemplateFlow's client: `deliver` says what a download does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.home, self.asked, self.result = home, [], None
        self.cache = SimpleNamespace(ensure=lambda: None)
        monkeypatch.setitem(sys.modules, "templateflow", SimpleNamespace(TemplateFlowClient=lambda **_: self))

    def get(self, template: str, **query: Any) -> Any:
        self.asked.append((template, query))
        if isinstance(self.result, Exception):
            raise self.result
        if self.result is not None:
            name = f"res-0{query['resolution']}_atlas-{query['atlas']}_desc-{query['desc']}_{query['suffix']}"
            _save(self.home, template, f"{name}.nii.gz", self.result)
        return []


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("offline", [True, False])
def test_labels_of_25_per_cent_and_2_mm_are_taken(home: Path, offline: bool) -> None:
    atlas = find_atlas("hocpa", offline=offline)
    assert atlas.image == home / f"tpl-{ASYM}" / f"tpl-{ASYM}_res-02_atlas-HOCPA_desc-th25_dseg.nii.gz"
    assert (atlas.kind, atlas.template, atlas.resolution) == ("dseg", ASYM, 2)
    # The table lies with the other template only.
    assert atlas.regions == {1: "Frontal Pole", 2: "Lingual Gyrus", 3: "Cuneal Cortex, all of it"}
    found = find_regions(atlas, "lingual gyrus")
    assert found == {"Lingual Gyrus": [2]}
    region = read_region(atlas, found["Lingual Gyrus"])
    np.testing.assert_array_equal(region.data, (LABELS == 2).astype(np.float32))
    np.testing.assert_array_equal(region.affine, AFFINE)
    assert find_atlas("HOCPA-th0", offline=offline).image.name.endswith("desc-th0_dseg.nii.gz")


@pytest.mark.usefixtures("home", "no_network")
def test_probabilities_come_before_labels_and_per_cents_become_shares() -> None:
    atlas = find_atlas("HOCPA", template=SIXTH, offline=True)
    assert atlas.kind == "probseg"
    # Volume 0 is region 1 of the table.
    assert atlas.regions == {0: "Frontal Pole", 1: "Lingual Gyrus", 2: "Cuneal Cortex, all of it"}
    np.testing.assert_allclose(read_region(atlas, [0]).data, [[[0.6, 0.6], [0.6, 0.6]], [[0, 0], [0, 0]]])
    both = read_region(atlas, [0, 1]).data
    np.testing.assert_allclose(both, [[[0.9, 0.9], [0.6, 0.6]], [[0, 0], [0, 0]]], atol=1e-6)
    assert read_region(atlas, [2]).data[1, 0, 0] == pytest.approx(0.24)


@pytest.mark.usefixtures("home", "no_network")
def test_tables_that_count_from_zero() -> None:
    atlas = find_atlas("HOCPAL", template=SIXTH, offline=True)
    assert atlas.regions == {0: "Left Pole", 1: "Right Pole", 2: "Left Gyrus"}
    assert read_region(atlas, [0]).data.max() == pytest.approx(0.6)
    # Of labels nobody knows whether 1 is the first region or the second.
    with pytest.raises(DataError, match=r"atlas-HOCPAL_dseg\.tsv: counts regions from 0"):
        find_atlas("HOCPAL-th25", template=SIXTH, offline=True)


@pytest.mark.usefixtures("home", "no_network")
def test_other_tables_and_none() -> None:
    difumo = find_atlas("DiFuMo", offline=True)
    assert difumo.regions == {0: "Fusiform gyrus", 1: "Calcarine", 2: "Fusiform gyrus"}
    assert find_regions(difumo) == {"Fusiform gyrus": [0, 2], "Calcarine": [1]}
    # Weights that are small numbers, not per cents.
    assert read_region(difumo, [0]).data.max() == pytest.approx(60 / 900)
    assert find_atlas("HCP", template=SIXTH, offline=True).regions == {5: "HCP-5", 10: "HCP-10", 15: "HCP-15"}


@pytest.mark.usefixtures("home", "no_network")
def test_a_pattern_makes_one_region_of_several() -> None:
    atlas = find_atlas("Schaefer2018-100Parcels7Networks", offline=True)
    assert find_regions(atlas, "*_vis_*") == {"vis": [1, 2]}
    np.testing.assert_array_equal(read_region(atlas, [1, 2]).data, np.isin(LABELS, [1, 2]))
    with pytest.raises(UsageError, match=r"no region '7Networks_LH_Viz_1'.*7Networks_LH_Vis_1"):
        find_regions(atlas, "7Networks_LH_Viz_1")


@pytest.mark.usefixtures("home", "no_network")
def test_several_versions_have_to_be_told_apart() -> None:
    # Offline, only one of them is here.
    assert "100Parcels" in find_atlas("Schaefer2018", offline=True).image.name
    with pytest.raises(
        UsageError, match="Schaefer2018-100Parcels7Networks, Schaefer2018-400Parcels7Networks"
    ):
        find_atlas("Schaefer2018")
    with pytest.raises(UsageError, match=r"HOCPA has no version 'th30'.*HOCPA-th25"):
        find_atlas("HOCPA-th30")


@pytest.mark.usefixtures("home", "no_network")
def test_an_unknown_atlas_is_told_where_it_would_be() -> None:
    with pytest.raises(UsageError, match=r"no atlas 'Wang2015' in .*It has: DiFuMo, HOCPA, Schaefer2018"):
        find_atlas("Wang2015")
    with pytest.raises(UsageError, match=f"HCP lies in {SIXTH}"):
        find_atlas("HCP", offline=True)


@pytest.mark.usefixtures("no_network")
def test_offline_files_without_content_are_missing(home: Path) -> None:
    with pytest.raises(MissingInputError, match=r"400Parcels.*is not cached.*TEMPLATEFLOW_HOME"):
        find_atlas("Schaefer2018-400Parcels7Networks", offline=True)
    assert list_cached_atlases() == {
        ASYM: [
            "DiFuMo-64dimensions",
            "HOCPA-th0",
            "HOCPA-th25",
            "HOCPA-th50",
            "Schaefer2018-100Parcels7Networks",
        ],
        SIXTH: ["HCP", "HOCPA", "HOCPA-th25", "HOCPAL", "HOCPAL-th25"],
    }
    # Of two grids, the one that is here.
    (home / f"tpl-{ASYM}" / f"tpl-{ASYM}_res-02_atlas-HOCPA_desc-th25_dseg.nii.gz").write_bytes(b"")
    assert find_atlas("HOCPA-th25", offline=True).resolution == 1


@pytest.mark.usefixtures("no_network")
def test_offline_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "none"))
    assert list_cached_atlases() == {}
    with pytest.raises(UsageError, match="Without --offline"):
        find_atlas("HOCPA", offline=True)
    assert not (tmp_path / "none").exists()


def test_a_missing_file_is_downloaded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(monkeypatch, home)
    client.result = LABELS
    atlas = find_atlas("Schaefer2018-400Parcels7Networks")
    assert read_region(atlas, [3]).data.sum() == 2
    (template, query), *more = client.asked
    assert template == ASYM
    assert not more
    assert query == {
        "atlas": "Schaefer2018", "desc": "400Parcels7Networks", "resolution": 2, "suffix": "dseg",
        "extension": ".nii.gz", "segmentation": None, "label": None, "hemi": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        # An empty list is what the client returns for what it does not find.
        (None, MissingInputError, "did not deliver"),
        (ConnectionError("Max retries exceeded"), MissingInputError, "could not be fetched .*Max retries"),
        (RuntimeError("status code 404"), MissingInputError, "status code 404"),
        (
            PermissionError(13, "Permission denied"),
            CannotCreateError,
            "cannot be written .*TEMPLATEFLOW_HOME",
        ),
    ],
)
def test_downloads_that_fail_name_the_file(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    result: Exception | None,
    error: type[Exception],
    message: str,
) -> None:
    Client(monkeypatch, home).result = result
    with pytest.raises(error, match=f"(?s)400Parcels7Networks.*{message}"):
        find_atlas("Schaefer2018-400Parcels7Networks")


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "empty"))

    def raises(**_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setitem(sys.modules, "templateflow", SimpleNamespace(TemplateFlowClient=raises))
    with pytest.raises(CannotCreateError, match=r"empty: .*Read-only file system.*TEMPLATEFLOW_HOME"):
        list_files()


def test_the_client_makes_the_folder_without_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real client: what the archive holds is in the package."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "new"))
    monkeypatch.setenv("TEMPLATEFLOW_AUTOUPDATE", "0")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    files = list_files(SIXTH)
    names = {file.atlas for file in files if file.suffix == "probseg"}
    assert {"HOCPA", "HOCPAL", "DiFuMo-64dimensions"} <= names
    assert not any(file.cached for file in files if file.extension == ".nii.gz")
    with pytest.raises(MissingInputError, match="is not cached"):
        fetch(next(file for file in files if file.extension == ".nii.gz"), offline=True)


def test_the_folder_is_that_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    assert templateflow_home() == tmp_path
    monkeypatch.delenv("TEMPLATEFLOW_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert templateflow_home() == tmp_path / "cache" / "templateflow"


@pytest.mark.usefixtures("no_network")
def test_damaged_tables_and_images(home: Path) -> None:
    table = home / f"tpl-{SIXTH}" / f"tpl-{SIXTH}_atlas-HOCPA_dseg.tsv"
    table.write_text("index\tname\nfirst\tPole\n")
    with pytest.raises(DataError, match=r"HOCPA_dseg\.tsv: cannot be read as a table"):
        find_atlas("HOCPA", offline=True)
    table.write_text("index\tname\n1\ta\n4\td\n")
    with pytest.raises(DataError, match=r"names 4 regions, .*probseg\.nii\.gz has 3"):
        find_atlas("HOCPA", template=SIXTH, offline=True)
    table.write_text("index\tname\n1\ta\n")
    image = home / f"tpl-{ASYM}" / f"tpl-{ASYM}_res-02_atlas-HOCPA_desc-th25_dseg.nii.gz"
    image.write_bytes(gzip.compress(b"half of a file"))
    with pytest.raises(DataError, match="cannot be read as NIfTI"):
        read_region(find_atlas("HOCPA", offline=True), [1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("atlas:HOCPA", ("HOCPA", None, 0.25)),
        ("HOCPA:Cuneal Cortex, all of it", ("HOCPA", "Cuneal Cortex, all of it", 0.25)),
        ("atlas:HOCPA:Lingual Gyrus@50", ("HOCPA", "Lingual Gyrus", 0.5)),
        ("Schaefer2018-100Parcels:*Vis*@12.5%", ("Schaefer2018-100Parcels", "*Vis*", 0.125)),
    ],
)
def test_requests(text: str, expected: tuple[str, str | None, float]) -> None:
    request = parse_request(text)
    assert (request.atlas, request.region, request.threshold) == expected


@pytest.mark.parametrize(
    "text", ["atlas:", "atlas::V1", "HOCPA:", "HOCPA@", "HOCPA@0", "HOCPA@101", "HOCPA@many"]
)
def test_requests_that_say_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="Write it as atlas:NAME"):
        parse_request(text)
