"""One frozen settings object, made from the command line and TOML, and passed down."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_recon.errors import DataError, MissingInputError


@dataclass(frozen=True)
class Settings:
    """What a run was asked to do.

    Attributes are named after the options of `bids-recon`; labels have no `sub-`, `ses-` or `task-`.
    An empty tuple means "all".
    """

    bids_dir: Path
    output_dir: Path
    levels: tuple[str, ...] = ("participant",)
    participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    task_id: tuple[str, ...] = ()
    bids_filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    skip_bids_validation: bool = False
    bids_database_dir: Path | None = None
    derivatives: Mapping[str, Path] = field(default_factory=dict)
    stimulus_spec: str | None = None
    stimuli: tuple[Path, ...] = ()
    captions: tuple[Path, ...] = ()
    split: str | None = None
    on_leak: str = "stop"
    preprocess: str = "full"
    space: str | None = None
    nuisance: tuple[str, ...] = ("motion6",)
    roi: tuple[str, ...] = ()
    glm: str = "block-average"
    hrf_shift: float | None = None
    zscore: str | None = None
    responses_only: bool = False
    method: tuple[str, ...] = ("eigenimage",)
    decoder: str | None = None
    alpha: tuple[float, ...] = ()
    alpha_selection: str | None = None
    alpha_per: str | None = None
    noise_covariance: str | None = None
    rescale: str | None = None
    decoders: Path | None = None
    n_components: int = 120
    image_size: int | None = None
    encoder: str | None = None
    layers: tuple[str, ...] = ()
    norm_correction: str | None = None
    generator: str | None = None
    optimiser: str | None = None
    iterations: int | None = None
    layer_order: str | None = None
    vdvae_latents: str | None = None
    vdvae_guess: str | None = None
    ablate: tuple[str, ...] = ()
    strength: float | None = None
    guidance_scale: float | None = None
    text_strength: float | None = None
    steps: int | None = None
    vd_start: str | None = None
    precision: str | None = None
    samples: int = 1
    roi_pictures: bool = False
    analyses: tuple[str, ...] = ()
    roi_mix: tuple[str, ...] = ()
    eccentricity: Path | None = None
    extra_images: Path | None = None
    average_trials: bool = True
    average_training: bool = False
    legacy_test_statistics: bool = False
    n_shuffles: int | None = None
    work_dir: Path = Path("work")
    nprocs: int = 1
    omp_nthreads: int = 1
    memory_mb: int | None = None
    device: str = "auto"
    weights: Path | None = None
    batch_size: int = 16
    offline: bool = False
    seed: int = 0
    stop_on_first_crash: bool = False
    dry_run: bool = False
    verbose: int = 0


CHOICES = {
    "preprocess": ("full", "none"),
    "nuisance": ("motion6", "motion24", "acompcor", "none"),
    "on_leak": ("stop", "drop", "allow"),
    "zscore": ("run", "all", "none"),
    "device": ("auto", "cpu", "cuda"),
    "alpha_selection": ("k-fold", "leave-out", "gcv"),
    "alpha_per": ("space", "target"),
    "noise_covariance": ("none", "diagonal", "shrunk"),
    "rescale": ("none", "out-of-fold"),
    "encoder": ("vgg19", "vgg19-imagery", "efficientnet-lite0"),
    "norm_correction": ("none", "training", "extra", "centred"),
    "generator": ("none", "relu7", "waves"),
    "optimiser": ("lbfgs", "gradient-descent"),
    "layer_order": ("together", "shallow-first"),
    "vdvae_latents": ("mean", "sample"),
    "vdvae_guess": ("sample", "mean"),
    "ablate": ("vdvae", "clip-text", "clip-vision", "diffusion"),
    "vd_start": ("published", "diffusers"),
    "precision": ("auto", "float32", "bfloat16", "float16"),
    "analyses": ("roi-weights", "roi-optimal"),
}
# Smallest values of whole numbers.
SMALLEST = {
    "n_components": 1,
    "image_size": 1,
    "n_shuffles": 1,
    "iterations": 1,
    "steps": 1,
    "samples": 1,
    "batch_size": 1,
    "nprocs": 1,
    "omp_nthreads": 1,
    "memory_mb": 1,
    "seed": 0,
}
FRACTIONS = frozenset({"strength", "text_strength"})
# Options that describe one call, not the analysis: a file that is used again must not carry them.
NOT_REUSED = frozenset({"bids_dir", "output_dir", "levels", "dry_run", "verbose"})
_SECTIONS = {
    "input": (
        "participant_label session_label task_id bids_filters skip_bids_validation bids_database_dir"
        " derivatives stimulus_spec stimuli captions"
    ),
    "analysis": (
        "split on_leak preprocess space nuisance roi glm hrf_shift zscore responses_only method decoder alpha"
        " alpha_selection alpha_per"
        " noise_covariance rescale decoders n_components image_size"
        " encoder layers norm_correction generator optimiser iterations layer_order"
        " vdvae_latents vdvae_guess ablate strength guidance_scale text_strength steps vd_start precision"
        " samples roi_pictures analyses roi_mix eccentricity"
        " extra_images average_trials average_training legacy_test_statistics n_shuffles seed"
    ),
    "execution": "work_dir nprocs omp_nthreads memory_mb device weights batch_size offline"
    " stop_on_first_crash",
}


def settings_to_toml(settings: Settings, version: str) -> str:
    """Write settings as TOML; the section `environment` is for people and is not read back."""
    import tomli_w

    values = {item.name: _to_toml(getattr(settings, item.name)) for item in dataclasses.fields(settings)}
    # TOML has no null, which stands for "absent" in a filter.
    values["bids_filters"] = json.dumps(values["bids_filters"])
    document: dict[str, Any] = {
        "environment": {
            "bids_recon": version,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpus": os.cpu_count() or 1,
            "bids_dir": values["bids_dir"],
            "output_dir": values["output_dir"],
            "levels": values["levels"],
        }
    }
    for section, names in _SECTIONS.items():
        document[section] = {name: values[name] for name in names.split() if values[name] is not None}
    return tomli_w.dumps(document)


def _to_toml(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_to_toml(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _to_toml(item) for key, item in value.items()}
    return value


def read_config_file(path: Path) -> dict[str, Any]:
    """Read options from the TOML of an earlier run, as values for `Settings`.

    Raises
    ------
    MissingInputError
        When there is no such file.
    DataError
        When it is not TOML or holds an option that does not exist, has another type or no such value.
        `bids_filters` may be JSON in a string, as runs write it, or a table.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError("the configuration file does not exist", file=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"is not valid TOML ({error})", file=path) from error
    document.pop("environment", None)
    types = {item.name: str(item.type) for item in dataclasses.fields(Settings)}
    values: dict[str, Any] = {}
    for section, options in document.items():
        if not isinstance(options, dict):
            raise DataError(
                f"'{section}' should be a section", file=path, remedy=f"Sections: {list(_SECTIONS)}."
            )
        for name, value in options.items():
            if name not in types or name in NOT_REUSED:
                raise DataError(
                    f"unknown option '{name}' in section '{section}'",
                    file=path,
                    remedy="Options are spelled as in the file a run writes to logs/.",
                )
            values[name] = _from_toml(name, value, types[name], path)
    return values


def _from_toml(name: str, value: Any, kind: str, path: Path) -> Any:
    problem = DataError(
        f"option '{name}' has the value {json.dumps(value, default=str)}, expected {kind}", file=path
    )
    if name == "bids_filters":
        return _filters(value, problem)
    if kind.startswith("tuple[float"):
        numbers = value if isinstance(value, list) else [value]
        if not all(isinstance(item, (int, float)) and 0 < item < math.inf for item in numbers):
            raise problem
        return tuple(float(item) for item in numbers)
    if kind.startswith("tuple"):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise problem
        for item in value if name in CHOICES else ():
            _check_range(name, item, path)
        return tuple(Path(item) if "Path" in kind else item for item in value)
    if kind.startswith("Mapping"):
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise problem
        return {key: Path(item) for key, item in value.items()}
    if kind.startswith("Path"):
        if not isinstance(value, str):
            raise problem
        return Path(value)
    expected: dict[str, type | tuple[type, ...]] = {
        "int": int,
        "bool": bool,
        "str": str,
        "float": (int, float),
    }
    if not isinstance(value, expected[kind.split(" ")[0]]) or (kind != "bool" and isinstance(value, bool)):
        raise problem
    _check_range(name, value, path)
    return value


def _check_range(name: str, value: Any, path: Path) -> None:
    shown = f"option '{name}' has the value {json.dumps(value)}"
    if name in CHOICES and value not in CHOICES[name]:
        raise DataError(shown, file=path, remedy=f"Choose among: {', '.join(CHOICES[name])}.")
    if name in SMALLEST and value < SMALLEST[name]:
        raise DataError(f"{shown}, expected {SMALLEST[name]} or more", file=path)
    if name in FRACTIONS and not 0 <= value <= 1:
        raise DataError(f"{shown}, expected a number from 0 to 1", file=path)
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{shown}, expected a finite number", file=path)


def _filters(value: Any, problem: DataError) -> dict[str, dict[str, Any]]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise problem from error
    if not isinstance(value, dict) or not all(isinstance(query, dict) for query in value.values()):
        raise problem
    return value
