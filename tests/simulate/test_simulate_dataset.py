"""The data set on disk: valid, repeatable, complete or absent, and carrying what was planted."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_recon.errors import CannotCreateError
from bids_recon.glm.block_average import block_average
from bids_recon.rois.selection import VoxelSelection
from bids_recon.simulate import DEMO, TINY, SimulationDesign, simulate_dataset

ONE = replace(TINY, n_subjects=1, train_runs=1, repeats=1)


def hashes(root: Path) -> dict[str, str]:
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def estimates(truth, label, *, only=None):
    """Mean response to each picture in the order of the betas, from the files."""
    subject = truth.subjects[label]
    rows, ids = [], []
    for run in subject.runs:
        image = nib.load(truth.folder / run.file("bold", ".nii.gz"))
        trials = pd.read_csv(truth.folder / run.file("events", ".tsv"), sep="\t")
        bold = image.get_fdata(dtype=np.float32).reshape(-1, image.shape[3])[subject.voxels.indices].T
        ramp = np.linspace(-1, 1, len(bold))[:, None]
        rows.append(block_average(bold, trials, image.header.get_zooms()[3], nuisance=ramp))
        ids += [Path(file).stem for file in trials["stim_file"]]
    table = pd.DataFrame(np.vstack(rows), index=ids).groupby(level=0).mean()
    return table.loc[list(truth.stimulus_ids)].to_numpy()


def test_planted_responses_come_back_from_the_files(tiny_truth):
    for label, subject in tiny_truth.subjects.items():
        found = estimates(tiny_truth, label)
        r = [np.corrcoef(found[:, v], subject.betas[:, v])[0, 1] for v in range(found.shape[1])]
        assert np.median(r) > 0.75
        # Each picture's pattern over voxels is nearest to its own truth.
        centred = [x - x.mean(axis=0) for x in (found, subject.betas)]
        likeness = np.corrcoef(*centred)[: len(found), len(found) :]
        assert (likeness.argmax(axis=1) == np.arange(len(found))).mean() > 0.9
        shuffled = np.random.default_rng(0).permutation(len(found))
        assert np.diag(likeness[shuffled]).mean() < 0.2


def test_response_estimates_have_the_planted_size(tiny_truth):
    subject = tiny_truth.subjects["01"]
    found = estimates(tiny_truth, "01")
    slope = np.median([np.polyfit(subject.betas[:, v], found[:, v], 1)[0] for v in range(found.shape[1])])
    # Betas are peaks; the mean over the shifted block is smaller.
    assert 0.5 < slope < 1.1


def test_same_seed_same_files_other_seed_other_files(tmp_path):
    first, again, other = (
        simulate_dataset(tmp_path / name, ONE, seed=seed) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    one, same, different = hashes(first.folder), hashes(again.folder), hashes(other.folder)
    assert one == same
    changed = {name for name in one if different.get(name) != one[name]}
    bold = {name for name in one if name.endswith("bold.nii.gz")}
    assert bold <= changed and any(name.endswith("events.tsv") for name in changed)
    np.testing.assert_array_equal(first.subjects["01"].betas, again.subjects["01"].betas)


def test_each_picture_is_shown_as_often_as_designed(tiny_truth):
    for subject in tiny_truth.subjects.values():
        shown = Counter(file for run in subject.runs for file in run.trials["stim_file"])
        for picture in tiny_truth.pictures:
            assert shown[picture.file] == (1 if picture.picture_set == "train" else TINY.repeats)
        assert {
            (run.session, picture_set) for run in subject.runs for picture_set in run.trials["picture_set"]
        } == {
            ("train", "train"),
            ("test", "natural"),
            ("test", "shapes"),
            ("test", "letters"),
        }


def test_people_see_the_pictures_in_different_orders(tiny_truth):
    orders = [
        [file for run in subject.runs for file in run.trials["stim_file"]]
        for subject in tiny_truth.subjects.values()
    ]
    assert sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1]


def test_events_files_lie_within_their_runs(tiny_truth):
    for subject in tiny_truth.subjects.values():
        for run in subject.runs:
            image = nib.load(tiny_truth.folder / run.file("bold", ".nii.gz"))
            file = tiny_truth.folder / run.file("events", ".tsv")
            events = pd.read_csv(file, sep="\t", keep_default_na=False)
            pd.testing.assert_frame_equal(events, run.trials, check_dtype=False)
            columns = ["onset", "duration", "trial_type", "stim_file", "picture_set", "colour", "shape"]
            assert list(events) == columns
            for row in events.to_dict("records"):
                named = re.fullmatch(r"shape-(?P<colour>\w+)-(?P<shape>\w+)\.png", row["stim_file"])
                expected = named.groupdict() if named else {"colour": "n/a", "shape": "n/a"}
                assert {name: row[name] for name in ("colour", "shape")} == expected
            assert (np.diff(events["onset"]) == TINY.on + TINY.off).all()
            end = (events["onset"] + events["duration"]).max()
            assert end + TINY.off + TINY.lead_out <= image.shape[3] * TINY.tr
            for file in events["stim_file"]:
                assert (tiny_truth.folder / "stimuli" / file).is_file()


def test_images_are_16_bit_with_slope_and_the_sidecars_tr(tiny_truth):
    for run in tiny_truth.subjects["02"].runs:
        image = nib.load(tiny_truth.folder / run.file("bold", ".nii.gz"))
        sidecar = json.loads((tiny_truth.folder / run.file("bold", ".json")).read_text())
        assert image.get_data_dtype() == np.int16
        assert image.dataobj.slope == 0.5
        assert image.shape == (*TINY.grid, run.n_volumes)
        assert float(image.header.get_zooms()[3]) == sidecar["RepetitionTime"] == TINY.tr
        assert image.header.get_xyzt_units() == ("mm", "sec")
        assert sidecar["TaskName"] == "viewing"


def test_masks_are_the_planted_areas(tiny_truth):
    for label, subject in tiny_truth.subjects.items():
        folder = tiny_truth.folder / "derivatives" / "rois" / f"sub-{label}" / "func"
        masks = {}
        for file in folder.glob("*_mask.nii.gz"):
            image = nib.load(file)
            np.testing.assert_array_equal(image.affine, subject.voxels.affine)
            masks[re.search("label-(.*)_mask", file.name)[1]] = np.asarray(image.dataobj) > 0
        found = VoxelSelection.from_masks(masks, subject.voxels.affine)
        np.testing.assert_array_equal(found.indices, subject.voxels.indices)
        for name, member in subject.voxels.rois.items():
            np.testing.assert_array_equal(found.rois[name], member)
        assert set(found.rois) == set(subject.voxels.rois)


def test_bold_and_t1w_show_the_same_head(tiny_truth):
    from nilearn.image import resample_to_img

    bold = nib.load(tiny_truth.folder / tiny_truth.subjects["01"].runs[0].file("bold", ".nii.gz"))
    t1w = nib.load(tiny_truth.folder / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    mean = nib.Nifti1Image(bold.get_fdata().mean(axis=3), bold.affine)
    t1w = nib.Nifti1Image(t1w.get_fdata(dtype=np.float32), t1w.affine)
    other = resample_to_img(t1w, mean, force_resample=True, copy_header=True).get_fdata()
    assert np.corrcoef(mean.get_fdata().ravel() > 300, other.ravel() > 300)[0, 1] > 0.5


def test_data_set_says_that_it_is_simulated(tiny_truth):
    assert (tiny_truth.folder / "README.md").read_text().splitlines()[0] == (
        "The brain in this data set is simulated: no person was scanned."
    )
    for place in ("", "derivatives/rois"):
        description = json.loads((tiny_truth.folder / place / "dataset_description.json").read_text())
        assert description["Simulated"] is True
        assert description["Name"].startswith("Simulated brain")


def test_every_picture_has_source_and_licence(tiny_truth):
    table = pd.read_csv(tiny_truth.folder / "stimuli" / "sources.tsv", sep="\t", dtype=str)
    assert list(table["stim_file"]) == [picture.file for picture in tiny_truth.pictures]
    assert not table["licence"].isna().any()
    readme = (tiny_truth.folder / "stimuli" / "README.md").read_text()
    for photograph in table["photograph"].dropna().unique():
        assert f"* {photograph}: " in readme
    by_side = table.dropna(subset="photograph").groupby("picture_set")["photograph"].agg(set)
    assert not by_side["train"] & by_side["natural"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"motion": 0.5},
        {"slice_timing": True, "oblique": 9.0, "session_shift": 6.0, "inplane_t2": True, "dummy_volumes": 2},
    ],
)
def test_validator_finds_no_error(tmp_path, changes):
    program = Path(sys.executable).parent / "bids-validator-deno"
    found = str(program) if program.is_file() else shutil.which("bids-validator-deno")
    if found is None:
        pytest.skip("bids-validator-deno is not installed")
    truth = simulate_dataset(tmp_path / "bids", replace(ONE, **changes))
    for folder in (truth.folder, truth.folder / "derivatives" / "rois"):
        done = subprocess.run([found, str(folder), "--json"], capture_output=True, text=True, check=False)
        issues = json.loads(done.stdout)["issues"]["issues"]
        assert [issue for issue in issues if issue["severity"] == "error"] == []
        assert done.returncode == 0


def test_motion_is_written_as_confounds_and_moves_the_head(tmp_path):
    still = simulate_dataset(tmp_path / "still", replace(ONE, noise=0.05, drift=0.0))
    moving = simulate_dataset(tmp_path / "moving", replace(ONE, noise=0.05, drift=0.0, motion=5.0))
    assert not (still.folder / "derivatives" / "motion").exists()
    assert still.subjects["01"].runs[0].motion is None
    run = moving.subjects["01"].runs[0]
    file = moving.folder / "derivatives" / "motion" / run.file("timeseries", ".tsv", "confounds")
    confounds = pd.read_csv(file, sep="\t")
    assert list(confounds) == ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
    np.testing.assert_allclose(confounds.to_numpy(), run.motion, atol=1e-6)
    series = [nib.load(truth.folder / run.file("bold", ".nii.gz")).get_fdata() for truth in (still, moving)]
    np.testing.assert_allclose(series[0][..., 0], series[1][..., 0], rtol=0.1, atol=20)
    change = [np.abs(one - one[..., :1]).mean(axis=(0, 1, 2)) for one in series]
    distance = np.linalg.norm(run.motion[:, :3], axis=1)
    assert np.corrcoef(distance, change[1])[0, 1] > 0.8
    assert change[1].mean() > 3 * change[0].mean()


def test_one_back_repeats_follow_their_picture(tmp_path):
    truth = simulate_dataset(tmp_path / "bids", replace(ONE, one_back=2))
    for run in truth.subjects["01"].runs:
        files = run.trials["stim_file"].to_numpy()
        assert (files[1:] == files[:-1]).sum() == 2
        assert len(files) == len(set(files)) + 2
        assert (np.diff(run.trials["onset"]) == ONE.on + ONE.off).all()


def test_progress_is_told(tmp_path):
    told: list[tuple[int, int, str]] = []
    design = replace(ONE, repeats=2)
    simulate_dataset(tmp_path / "bids", design, progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == [1, 2, 3, 4, 5]
    assert {total for _, total, _ in told} == {5}
    assert told[0][2] == "pictures" and told[-1][2] == "sub-01 ses-test run-02"


def test_a_data_set_that_is_there_is_left_alone(tmp_path):
    folder = tmp_path / "bids"
    first = simulate_dataset(folder, ONE, seed=5)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    told: list[str] = []
    again = simulate_dataset(folder, ONE, seed=5, progress=lambda done, total, what: told.append(what))
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
    assert told == ["simulated before"]
    np.testing.assert_array_equal(first.subjects["01"].betas, again.subjects["01"].betas)


@pytest.mark.parametrize("spoil", ["seed", "missing run", "other files", "a file"])
def test_a_folder_with_anything_else_is_refused(tmp_path, spoil):
    folder, seed = tmp_path / "bids", 5
    if spoil == "other files":
        folder.mkdir()
        (folder / "thesis.txt").write_text("mine")
    elif spoil == "a file":
        folder.write_text("mine")
    else:
        truth = simulate_dataset(folder, ONE, seed=5)
        if spoil == "seed":
            seed = 6
        else:
            (folder / truth.subjects["01"].runs[-1].file("bold", ".nii.gz")).unlink()
    before = hashes(tmp_path)
    with pytest.raises(CannotCreateError, match="bids: holds something other than this simulated data set"):
        simulate_dataset(folder, ONE, seed=seed)
    assert hashes(tmp_path) == before


def test_an_interrupted_simulation_leaves_nothing(tmp_path):
    class StopError(Exception):
        pass

    def stop(done, total, what):
        if done == 3:
            raise StopError

    with pytest.raises(StopError):
        simulate_dataset(tmp_path / "deep" / "bids", ONE, progress=stop)
    assert list((tmp_path / "deep").iterdir()) == []
    assert simulate_dataset(tmp_path / "deep" / "bids", ONE).folder.is_dir()


def test_an_empty_folder_is_filled(tmp_path):
    folder = tmp_path / "bids"
    folder.mkdir()
    simulate_dataset(folder, ONE)
    assert (folder / "dataset_description.json").is_file()
    assert [item.name for item in tmp_path.iterdir()] == ["bids"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_subjects": 0}, "n_subjects: at least 1"),
        ({"n_natural": 0, "n_shapes": 0, "n_letters": 0}, "no test picture"),
        ({"n_shapes": 41}, "40 shapes"),
        ({"n_train": 3, "train_runs": 4}, "3 training pictures cannot be spread over 4 runs"),
        ({"on": 0.0}, "durations are positive"),
    ],
)
def test_designs_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SimulationDesign(**settings)


def test_rows_follow_the_names(tiny_truth):
    ids = tiny_truth.stimulus_ids
    np.testing.assert_array_equal(tiny_truth.rows([ids[4], ids[1]]), [4, 1])
    assert list(tiny_truth.sets) == ["train", "natural", "shapes", "letters"]
    assert sum(map(len, tiny_truth.sets.values())) == len(ids)
    assert DEMO.subjects == ("01", "02", "03")
