import dataclasses
import tomllib
from pathlib import Path

import pytest

from bids_recon.config import NOT_REUSED, Settings, read_config_file, settings_to_toml
from bids_recon.errors import DataError, MissingInputError

FULL = Settings(
    bids_dir=Path("/data/ds"),
    output_dir=Path("out"),
    levels=("participant", "group"),
    participant_label=("01", "CSI1"),
    session_label=("a",),
    task_id=("5000scenes",),
    bids_filters={"bold": {"echo": 2, "acquisition": None, "run": [1, None], "space": "*"}, "t1w": {}},
    skip_bids_validation=True,
    bids_database_dir=Path("db"),
    derivatives={"fmriprep": Path("/prep"), "betas": Path("b=c")},
    stimulus_spec="ds001246",
    stimuli=(Path("pictures"), Path("/more")),
    captions=(Path("captions.tsv"),),
    split=r"session:train=tr\d+,test=te\d{1,2}",
    on_leak="drop",
    preprocess="none",
    space="T1w",
    nuisance=("motion24", "acompcor"),
    roi=("V1", "mine=a b.nii.gz"),
    glm="block-average",
    hrf_shift=3.5,
    zscore="none",
    responses_only=True,
    method=("eigenimage", "other"),
    decoder="ridge",
    alpha=(1.5, 100.0),
    alpha_selection="gcv",
    alpha_per="target",
    noise_covariance="shrunk",
    rescale="out-of-fold",
    decoders=Path("earlier"),
    n_components=7,
    image_size=32,
    encoder="vgg19-imagery",
    layers=("conv1_1", "DNN3-4"),
    norm_correction="extra",
    generator="relu7",
    optimiser="lbfgs",
    iterations=20,
    layer_order="together",
    vdvae_latents="sample",
    vdvae_guess="mean",
    ablate=("vdvae", "clip-text"),
    strength=0.5,
    guidance_scale=3.5,
    text_strength=0.0,
    steps=20,
    vd_start="diffusers",
    precision="bfloat16",
    samples=4,
    roi_pictures=True,
    analyses=("roi-weights",),
    roi_mix=("V1 & ~V2",),
    eccentricity=Path("prf.nii.gz"),
    extra_images=Path("extra"),
    average_trials=False,
    average_training=True,
    legacy_test_statistics=True,
    n_shuffles=3,
    work_dir=Path("/tmp/w"),
    nprocs=4,
    omp_nthreads=2,
    memory_mb=8000,
    device="cpu",
    weights=Path("w"),
    batch_size=4,
    offline=True,
    seed=12,
    stop_on_first_crash=True,
    dry_run=True,
    verbose=2,
)


def write(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file


def without_call(settings: Settings) -> dict[str, object]:
    return {key: value for key, value in vars(settings).items() if key not in NOT_REUSED}


# there and back


def test_every_option_differs_from_its_default_in_the_full_example() -> None:
    plain = Settings(bids_dir=Path("x"), output_dir=Path("y"))
    same = [name for name, value in vars(FULL).items() if getattr(plain, name) == value]
    assert same == ["glm"], "the round trip below would not notice that these are lost"


@pytest.mark.parametrize("settings", [FULL, Settings(bids_dir=Path("a"), output_dir=Path("b"))])
def test_round_trip(tmp_path: Path, settings: Settings) -> None:
    values = read_config_file(write(tmp_path, settings_to_toml(settings, "1.0")))
    assert not set(values) & NOT_REUSED
    again = Settings(**{name: getattr(settings, name) for name in NOT_REUSED}, **values)
    assert again == settings
    assert {type(value) for value in vars(again).values()} == {
        type(value) for value in vars(settings).values()
    }


def test_every_option_is_written_or_belongs_to_one_call() -> None:
    document = tomllib.loads(settings_to_toml(FULL, "1.0"))
    document.pop("environment")
    written = [name for section in document.values() for name in section]
    fields = {item.name for item in dataclasses.fields(Settings)}
    assert len(written) == len(set(written))
    assert set(written) | NOT_REUSED == fields


def test_environment_is_for_people(tmp_path: Path) -> None:
    text = settings_to_toml(FULL, "1.0")
    environment = tomllib.loads(text)["environment"]
    assert (environment["bids_recon"], environment["bids_dir"]) == ("1.0", "/data/ds")
    assert environment["levels"] == ["participant", "group"]
    assert read_config_file(write(tmp_path, "[environment]\nanything = 1\n")) == {}


def test_options_that_are_left_out_are_absent(tmp_path: Path) -> None:
    assert read_config_file(write(tmp_path, "[analysis]\nn_components = 5\n")) == {"n_components": 5}


def test_filters_may_be_a_table(tmp_path: Path) -> None:
    text = '[input.bids_filters.bold]\nsession = "a"\necho = [1, 2]\n'
    assert read_config_file(write(tmp_path, text)) == {
        "bids_filters": {"bold": {"session": "a", "echo": [1, 2]}}
    }


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.seed = 3  # type: ignore[misc]


# files that cannot be used


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="the configuration file does not exist") as caught:
        read_config_file(tmp_path / "none.toml")
    assert caught.value.exit_code == 66
    assert str(tmp_path / "none.toml") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[analysis", "is not valid TOML"),
        ("analysis = 3", "'analysis' should be a section"),
        ("[analysis]\ncolour = 1", "unknown option 'colour' in section 'analysis'"),
        ("[input]\nbids_dir = 'x'", "unknown option 'bids_dir' in section 'input'"),
        ("[execution]\ndry_run = true", "unknown option 'dry_run' in section 'execution'"),
        ("[analysis]\nn_components = '5'", "option 'n_components' has the value \"5\", expected int"),
        ("[analysis]\nn_components = true", "option 'n_components' has the value true, expected int"),
        ("[analysis]\nn_components = 0", "option 'n_components' has the value 0, expected 1 or more"),
        ("[analysis]\nseed = -1", "option 'seed' has the value -1, expected 0 or more"),
        ("[analysis]\nhrf_shift = 'x'", "option 'hrf_shift' has the value \"x\", expected float | None"),
        ("[analysis]\nhrf_shift = nan", "option 'hrf_shift' has the value NaN, expected a finite number"),
        ("[analysis]\nresponses_only = 1", "option 'responses_only' has the value 1, expected bool"),
        (
            "[analysis]\nsplit = 2020-01-01",
            "option 'split' has the value \"2020-01-01\", expected str | None",
        ),
        ("[analysis]\nroi = 'V1'", "option 'roi' has the value \"V1\", expected tuple[str, ...]"),
        ("[input]\nparticipant_label = [1]", "expected tuple[str, ...]"),
        ("[input]\nstimuli = [1]", "expected tuple[Path, ...]"),
        ("[input]\nderivatives = ['a']", "expected Mapping[str, Path]"),
        ("[input.derivatives]\na = 1", "expected Mapping[str, Path]"),
        ("[execution]\nwork_dir = 3", "expected Path"),
        ("[input]\nbids_filters = '{'", "option 'bids_filters'"),
        ("[input.bids_filters]\nbold = 1", "option 'bids_filters'"),
        ("[analysis]\non_leak = 'ignore'", "'ignore'. Choose among: stop, drop, allow."),
        ("[execution]\ndevice = 'tpu'", "Choose among: auto, cpu, cuda."),
    ],
)
def test_file_that_cannot_be_used(tmp_path: Path, text: str, problem: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_config_file(file)
    assert caught.value.exit_code == 65
    assert str(caught.value).startswith(f"{file}: ")
    assert problem.replace("'ignore'.", '"ignore".') in str(caught.value)


def test_whole_number_of_seconds_is_a_number(tmp_path: Path) -> None:
    assert read_config_file(write(tmp_path, "[analysis]\nhrf_shift = 4\n")) == {"hrf_shift": 4}
