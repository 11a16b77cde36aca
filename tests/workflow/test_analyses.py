"""Analyses of a planted brain, from decoders on the disk to tables and pictures of the group."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bids_recon.analysis.roi_weights import strength_percentiles, weight_strength
from bids_recon.config import Settings
from bids_recon.dataset.splits import Fold, make_split, parse_split
from bids_recon.dataset.stimuli import Stimulus, StimulusSet
from bids_recon.errors import DataError, UsageError
from bids_recon.glm.responses import Responses
from bids_recon.methods.base import Method, MethodOptions
from bids_recon.methods.seeds import picture_seed
from bids_recon.outputs.reading import read_json, read_tsv
from bids_recon.outputs.tensor_files import open_tensors
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.analyses import (
    ANALYSES,
    FittedMethod,
    analyse_participant,
    choose_regions,
)
from bids_recon.workflow.analysis_files import read_synthetic_latents, remove_analyses
from bids_recon.workflow.analysis_stage import regions_to_analyse, run_analyses, true_training_latents
from bids_recon.workflow.decoding import DecodingPlan, decode, rebuild_methods
from bids_recon.workflow.group_analyses import analyse_group
from bids_recon.workflow.latents_store import read_decoded, write_decoded
from bids_recon.workflow.responses import ResponseResult
from bids_recon.workflow.stage_cache import StageCache

N_TRAIN, N_TEST, N_VOXELS, SIZE = 30, 4, 60, 8
SIGNAL = np.arange(N_VOXELS) < N_VOXELS // 2
ROIS = {"V1": SIGNAL, "FFA 1": ~SIGNAL, "tiny": np.arange(N_VOXELS) < 3}
VOXELS = VoxelSelection((N_VOXELS + 2, 1, 1), np.eye(4), np.arange(1, N_VOXELS + 1), ROIS)
TRAIN = [f"p{n}" for n in range(N_TRAIN)]
TEST = [f"p{100 + n}" for n in range(N_TEST)]


class Patterns(StimulusSet):
    """Smooth grey pictures, made from the number in the id."""

    def __init__(self) -> None:
        stimuli = {}
        for name in TRAIN + TEST:
            coarse = np.random.default_rng(int(name[1:])).integers(0, 255, (4, 4), dtype=np.uint8)
            stimuli[name] = Stimulus(name, pattern=np.kron(coarse, np.ones((2, 2), dtype=np.uint8)))
        super().__init__(stimuli)


@dataclass(frozen=True)
class Person:
    """What someone's decoders came from, and what is on the disk of them."""

    fitted: FittedMethod
    options: MethodOptions
    cache: StageCache
    folds: tuple[Fold, ...]
    responses: Responses
    plan: DecodingPlan

    def analyse(self, *analyses: str, mixes: tuple[str, ...] = (), key: str = "key") -> list[str]:
        regions = choose_regions(mixes, self.fitted.voxels)
        return analyse_participant(self.fitted, analyses or ANALYSES, regions, self.cache, key)


Decode = Callable[..., Person]


@pytest.fixture
def person(tmp_path: Path) -> Decode:
    """Decode someone with eigenimages and write it, as the participant level does."""

    def decode_and_write(subject: str = "01", *, split: str = "fixed", **options: Any) -> Person:
        stimuli = Patterns()
        shown = TRAIN + TEST
        sessions = ["train"] * N_TRAIN + ["test"] * N_TEST
        trials = pd.DataFrame({"stimulus_id": shown, "session": sessions, "task": "view", "run": "1"})
        trials = trials.assign(
            subject=subject, kind="perception", set="", stim_file="", trial_index=range(len(shown))
        )
        pixels = np.stack([stimuli.image(name).mean(axis=2).ravel() for name in shown])
        rng = np.random.default_rng(int(subject))
        weights = rng.standard_normal((pixels.shape[1], N_VOXELS)) * SIGNAL
        data = (pixels / 255) @ weights + 0.2 * rng.standard_normal((len(shown), N_VOXELS))
        rule = "session:train=train,test=test" if split == "fixed" else split
        trials, folds = make_split(trials, parse_split(rule))
        made = MethodOptions(device="cpu", extra={"image_size": SIZE, "n_components": 10}, **options)
        plan = DecodingPlan("eigenimage", made, folds, stimuli, zscore="all", n_shuffles=1)
        responses = Responses(data.astype(np.float32), trials, VOXELS)
        decoded, _ = decode(responses, plan)
        sidecar = {
            "Simulated": True,
            "TrainingPictures": {fold.name: dict.fromkeys(fold.train, "") for fold in folds.folds},
        }
        out = tmp_path / "out"
        write_decoded(out, subject, "eigenimage", decoded, sidecar, VOXELS)
        decoded, sidecar = read_decoded(out, subject, "eigenimage")
        methods = rebuild_methods(decoded, "eigenimage", made)
        train = {fold.name: fold.train for fold in folds.folds}

        def training_latents(fold: str, space: str) -> np.ndarray:
            return methods[fold].latent_spaces[space].encode(stimuli.images(train[fold]))

        fitted = FittedMethod(out, subject, "eigenimage", VOXELS, decoded, sidecar, methods, training_latents)
        return Person(fitted, made, StageCache(tmp_path / "work", subject), folds.folds, responses, plan)

    return decode_and_write


def file_of(one: Person, name: str) -> Path:
    folder = one.fitted.output_dir / f"sub-{one.fitted.subject}" / "decoder"
    return folder / f"sub-{one.fitted.subject}_{name}"


def group(*people: Person) -> Any:
    fitted = [one.fitted for one in people]
    return analyse_group(
        fitted[0].output_dir,
        people[0].cache.folder.parent,
        "eigenimage",
        {one.subject: one.decoded for one in fitted},
        {one.fitted.subject: one.options for one in people},
    )


def test_strength_of_weights(person):
    one = person()
    warnings = one.analyse("roi-weights")
    assert warnings == ["Analyses: tiny has 3 voxels."]
    percentiles = strength_percentiles(weight_strength(one.fitted.decoders("0")["eigenimage"]))
    table = read_tsv(file_of(one, "desc-eigenimage_roiweights.tsv")).set_index("roi")
    assert table.loc["V1", "percentile"] == pytest.approx(percentiles[SIGNAL].mean(), abs=1e-6)
    assert table.loc["V1", "percentile"] > 60 > 40 > table.loc["FFA 1", "percentile"]
    assert table.loc["tiny", "note"] == "fewer than 20 voxels"
    assert set(read_json(file_of(one, "desc-eigenimage_roiweights.json"))) >= {*table.columns, "Mixes"}
    image = nib.load(file_of(one, "stat-percentile_label-eigenimage_desc-eigenimage_statmap.nii.gz"))
    values = np.asarray(image.dataobj).ravel()
    np.testing.assert_allclose(values[1:-1], percentiles, rtol=1e-6)
    assert values[0] == values[-1] == 0
    np.testing.assert_array_equal(image.affine, VOXELS.affine)
    sidecar = read_json(file_of(one, "stat-percentile_label-eigenimage_desc-eigenimage_statmap.json"))
    assert sidecar["LatentSpace"] == "eigenimage" and sidecar["Simulated"] is True
    assert not file_of(one, "desc-eigenimage_roioptimal.json").exists()


@pytest.mark.parametrize("rescale", ["none", "out-of-fold"])
def test_latents_of_synthetic_patterns(person, rescale):
    one = person(rescale=rescale)
    one.analyse("roi-optimal", mixes=("V1", "rest=~V1 & ~tiny", "V1 & ~v1"))
    found = read_synthetic_latents(one.fitted.output_dir, "01", "eigenimage")
    assert found is not None and found.regions["roi"].tolist() == ["V1", "rest"], "nothing is in the third"
    assert found.regions["n_voxels"].tolist() == [30, 30]
    true = one.fitted.training_latents("0", "eigenimage").astype(float)
    norm = np.linalg.norm(true - true.mean(axis=0), axis=1).mean()
    decoder = one.fitted.decoders("0")["eigenimage"]
    plain = decoder if rescale == "none" else decoder.decoder_
    patterns = np.stack([np.zeros(N_VOXELS), SIGNAL, ~SIGNAL])
    silence, *regions = plain.predict(patterns).astype(float)
    for row, region in enumerate(regions):
        moved = found.latents["eigenimage"][row].astype(float) - silence
        assert np.linalg.norm(moved) == pytest.approx(norm, rel=1e-5)
        direct = region - silence
        np.testing.assert_allclose(moved, direct * norm / np.linalg.norm(direct), rtol=1e-3, atol=1e-3 * norm)
    sidecar = read_json(file_of(one, "desc-eigenimage_roioptimal.json"))
    assert "No one saw" in sidecar["Description"]
    assert sidecar["Regions"][1] == {"Name": "rest", "Mix": "~V1 & ~tiny", "Voxels": 30}
    assert sidecar["Norms"]["eigenimage"] == {"Of": "the whole latent", "Mean": pytest.approx(norm, rel=1e-6)}
    assert not file_of(one, "desc-eigenimage_roiweights.tsv").exists()


def test_strengths_are_means_over_folds_and_patterns_are_of_the_first(person):
    one = person(split="kfold:3")
    one.analyse()
    names = [fold.name for fold in one.folds]
    assert len(names) == 3
    strengths = [weight_strength(one.fitted.decoders(name)["eigenimage"]) for name in names]
    image = nib.load(file_of(one, "stat-percentile_label-eigenimage_desc-eigenimage_statmap.nii.gz"))
    expected = strength_percentiles(np.mean(strengths, axis=0))
    np.testing.assert_allclose(np.asarray(image.dataobj).ravel()[1:-1], expected, rtol=1e-6)
    found = read_synthetic_latents(one.fitted.output_dir, "01", "eigenimage")
    assert found is not None and found.fold == names[0]
    assert found.identity == one.fitted.decoded.folds[0].identity


@pytest.mark.parametrize("split", ["fixed", "kfold:3"])
def test_the_stage_of_a_run(person, tmp_path, split):
    one = person(split=split)
    out = one.fitted.output_dir
    result = ResponseResult(one.responses, pd.DataFrame(), [], "all")
    settings = Settings(tmp_path / "ds", out, work_dir=tmp_path / "work")
    plan, methods = one.plan, one.fitted.methods
    assert regions_to_analyse(settings, "01", result) is None
    assert run_analyses(settings, result, plan, methods, None, one.cache, "k") == []
    asked = replace(settings, analyses=ANALYSES, roi_mix=("near=ecc0-0.5 & V1",))
    with pytest.raises(UsageError, match=r"no region 'ecc0-0\.5'"):
        regions_to_analyse(asked, "01", result)
    degrees = np.zeros((N_VOXELS + 2, 1, 1), dtype=np.float32)
    degrees[21:] = 0.2
    folder = tmp_path / "ds" / "derivatives" / "prf" / "sub-01"
    folder.mkdir(parents=True)
    nib.save(nib.Nifti1Image(degrees, np.eye(4)), folder / "sub-01_eccentricity.nii.gz")
    regions = regions_to_analyse(asked, "01", result)
    assert regions is not None and np.flatnonzero(regions.members["near"]).tolist() == list(range(20, 30))
    assert run_analyses(asked, result, plan, methods, regions, one.cache, "k") == [
        "Analyses: near has 10 voxels."
    ]
    found = read_synthetic_latents(out, "01", "eigenimage")
    assert found is not None and found.regions["roi"].tolist() == ["near"]
    # Norms are those of the training pictures of the first fold, kept by decoding or encoded again.
    for encoded in (plan.encoded, {}):
        name = one.fitted.decoded.folds[0].name
        true = true_training_latents(
            one.responses, replace(plan, encoded=encoded), methods[name], name, "eigenimage"
        )
        assert len(true) == (N_TRAIN if split == "fixed" else len(one.folds[0].train))
        norm = np.linalg.norm(true - true.mean(axis=0), axis=1).mean()
        assert float(found.norms["eigenimage"]) == pytest.approx(norm, rel=1e-4)
    earlier = replace(asked, decoders=tmp_path)
    assert regions_to_analyse(earlier, "01", result) is None
    (warning,) = run_analyses(earlier, result, plan, methods, None, one.cache, "k")
    assert warning == "eigenimage was not analysed: its decoders were fitted by another run."


def test_what_is_done_is_not_done_again(person, monkeypatch):
    one = person()
    warnings = one.analyse()
    before = file_of(one, "desc-eigenimage_roioptimal.safetensors").stat().st_mtime_ns
    assert one.analyse() == warnings
    assert file_of(one, "desc-eigenimage_roioptimal.safetensors").stat().st_mtime_ns == before
    # Other regions, other decoders, and other analyses are another matter.
    one.analyse(mixes=("V1",))
    assert read_synthetic_latents(one.fitted.output_dir, "01", "eigenimage").regions["roi"].tolist() == ["V1"]
    one.analyse("roi-weights", mixes=("V1",))
    assert read_synthetic_latents(one.fitted.output_dir, "01", "eigenimage") is None
    remove_analyses(one.fitted.output_dir, "01", "eigenimage")
    left = {file.name for file in file_of(one, "x").parent.iterdir()}
    assert left == {
        f"sub-01_desc-eigenimage_{end}"
        for end in ("decoder.json", "decoder.safetensors", "latents.safetensors", "latents.tsv")
    }


def test_without_decoders_there_is_a_warning_and_no_file(person):
    one = person()
    assert one.analyse(mixes=("V1",)) == []
    elsewhere = replace(one.fitted, sidecar=dict(one.fitted.sidecar) | {"DecodersFrom": "run1"})
    regions = choose_regions((), VOXELS)
    assert analyse_participant(elsewhere, ANALYSES, regions, one.cache, "k") == [
        "eigenimage was not analysed: its decoders were fitted by the run in run1."
    ]
    unkept = replace(one.fitted, sidecar=dict(one.fitted.sidecar) | {"DecoderParameters": {"0": {}}})
    (warning,) = analyse_participant(unkept, ANALYSES, regions, one.cache, "k")
    assert "too large to be kept" in warning


def test_a_decoder_without_weights_draws_but_has_no_strength(person):
    one = person(decoder="parametric-inversion")
    warnings = one.analyse()
    assert warnings[-1] == "eigenimage: a decoder without regression weights."
    assert not file_of(one, "desc-eigenimage_roiweights.tsv").exists()
    assert read_synthetic_latents(one.fitted.output_dir, "01", "eigenimage") is not None


def test_regions_and_what_is_wrong_with_them(tmp_path):
    degrees = np.zeros((N_VOXELS + 2, 1, 1), dtype=np.float32)
    degrees[1:21] = 0.3
    degrees[21:41] = 6
    file = tmp_path / "sub-01_eccentricity.nii.gz"
    nib.save(nib.Nifti1Image(degrees, np.eye(4)), file)
    chosen = choose_regions((), VOXELS, file)
    assert list(chosen.members) == [*ROIS, "ecc0-0.5", "ecc0.5-1", "ecc1-2", "ecc2-4", "ecc4+"]
    assert chosen.warnings[1] == "Analyses: ecc0.5-1 has no voxels."
    mixed = choose_regions(("far=V1 & ecc4+",), VOXELS, file)
    assert np.flatnonzero(mixed.members["far"]).tolist() == list(range(20, 30))
    with pytest.raises(UsageError, match="no region 'PPA'"):
        choose_regions(("V1 | PPA",), VOXELS)
    with pytest.raises(UsageError, match="two mixes of regions have the name 'a'"):
        choose_regions(("a=V1", "a=tiny"), VOXELS)
    named = replace(VOXELS, rois={"ecc4+": SIGNAL})
    with pytest.raises(UsageError, match=r"ecc4\+ is the name of a region, and of a bin"):
        choose_regions((), named, file)


def test_the_group(person):
    people = [person("01"), person("02"), person("03")]
    people[0].analyse(mixes=("V1", '"FFA 1"'))
    people[1].analyse(mixes=("V1",))
    found = group(*people)
    folder = people[0].fitted.output_dir / "group"
    weights = read_tsv(folder / "roi_weights.tsv").set_index("roi")
    each = [
        read_tsv(file_of(one, "desc-eigenimage_roiweights.tsv")).set_index("roi")["percentile"]["V1"]
        for one in people[:2]
    ]
    assert weights.loc["V1", "n_people"] == 2 and weights.loc["FFA 1", "n_people"] == 1
    assert weights.loc["V1", "percentile"] == pytest.approx(np.mean(each), abs=2e-6)
    assert weights.loc["V1", "percentile_sem"] == pytest.approx(abs(each[0] - each[1]) / 2, abs=2e-6)
    assert np.isnan(weights.loc["FFA 1", "percentile_sem"])
    table = read_tsv(folder / "roi_optimal.tsv", ("subject",))
    rows = list(zip(table["subject"], table["roi"], table["n_people"], strict=True))
    assert rows == [("01", "V1", 1), ("01", "FFA 1", 1), ("02", "V1", 1), ("average", "V1", 2)]
    assert np.isnan(table["n_voxels"].iloc[3]) and table["n_voxels"].iloc[0] == 30
    latents = [read_synthetic_latents(people[0].fitted.output_dir, one, "eigenimage") for one in ("01", "02")]
    method: Method = people[0].fitted.methods["0"]
    mean = np.mean([one.latents["eigenimage"][:1] for one in latents], axis=0)
    for latent, place in ((latents[0].latents["eigenimage"][:1], 0), (mean, 3)):
        with Image.open(folder / table["file"].iloc[place]) as picture:
            drawn = method.render({"eigenimage": latent}, np.zeros(1, np.uint64))[0]
            np.testing.assert_array_equal(np.asarray(picture), drawn)
    assert int(table["seed"].iloc[0]) == int(picture_seed(0, "roi_optimal V1"))
    assert [(one.subject, one.roi) for one in found.pictures] == [row[:2] for row in rows]
    assert "No one saw" in read_json(folder / "roi_optimal.json")["file"]["Description"]
    # A later call without them leaves no picture behind.
    for one in people:
        remove_analyses(one.fitted.output_dir, one.fitted.subject, "eigenimage")
    again = group(*people)
    assert again.pictures == [] and len(again.weights) == 0
    assert list(folder.rglob("*.png")) == []
    assert len(read_tsv(folder / "roi_optimal.tsv")) == len(read_tsv(folder / "roi_weights.tsv")) == 0


def test_a_group_without_analyses_writes_nothing(person):
    one = person()
    assert group(one).pictures == []
    assert not (one.fitted.output_dir / "group").exists()


def test_latents_of_other_spaces_are_refused(person):
    one = person()
    one.analyse("roi-optimal")
    file = file_of(one, "desc-eigenimage_roioptimal.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"FoldIdentity": "other"}))
    with pytest.raises(DataError, match="of other latent spaces than the decoded latents") as error:
        group(one)
    assert str(file) in str(error.value)
    file.write_text(json.dumps(content | {"LatentSpaces": {"eigenimage": [3]}}))
    with pytest.raises(DataError, match="does not fit"):
        group(one)


def test_arrays_on_the_disk(person):
    one = person()
    one.analyse("roi-optimal")
    arrays = open_tensors(file_of(one, "desc-eigenimage_roioptimal.safetensors"))
    assert {name: array.shape for name, array in arrays.items()} == {
        "latents/eigenimage": (3, 10),
        "norms/eigenimage": (1,),
    }
    assert arrays["latents/eigenimage"].dtype == np.float32
