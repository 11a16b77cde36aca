"""The command line of `bids-recon`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import bids_recon
from bids_recon.cli.method_options import (
    add_analysis_options,
    add_diffusion_options,
    add_method_options,
    add_optimisation_options,
)
from bids_recon.cli.option_group import add_option
from bids_recon.cli.values import (
    memory,
    read_filters,
    read_labels,
    read_named_paths,
    seconds,
    whole_number,
)
from bids_recon.config import CHOICES, Settings, read_config_file
from bids_recon.errors import MissingInputError, UsageError

LEVELS = ("participant", "group")
# Options of several values, each of which counts once.
ONCE = (
    *("levels", "stimuli", "captions", "nuisance", "roi", "method", "alpha", "layers"),
    *("ablate", "analyses", "roi_mix"),
)


def build_parser() -> argparse.ArgumentParser:
    """Make the parser; options left out are absent from its result, so that a file may give them."""
    parser = argparse.ArgumentParser(
        prog="bids-recon",
        description="Reconstruct the pictures people saw from their fMRI: a BIDS App.",
        epilog="Documentation: docs/usage.md. A demonstration that needs no data: bids-recon-demo DIR.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("bids_dir", type=Path, help="folder of the BIDS data set")
    parser.add_argument("output_dir", type=Path, help="folder for derivatives")
    parser.add_argument(
        "levels",
        metavar="{participant,group}",
        nargs="+",
        choices=LEVELS,
        help="levels of analysis; both may be given",
    )
    parser.add_argument("--version", action="version", version=f"bids-recon {bids_recon.__version__}")
    parser.add_argument("-v", "--verbose", action="count", help="say more; twice for debugging")
    _add_selection(parser.add_argument_group("what to work on"))
    _add_pictures(parser.add_argument_group("pictures and splits"))
    _add_preprocessing(parser.add_argument_group("preprocessing"))
    _add_responses(parser.add_argument_group("responses"))
    add_method_options(parser.add_argument_group("method"))
    add_optimisation_options(parser.add_argument_group("pictures by optimisation (deep-recon)"))
    add_diffusion_options(parser.add_argument_group("pictures by diffusion (brain-diffuser)"))
    add_analysis_options(parser.add_argument_group("analyses"))
    _add_execution(parser.add_argument_group("execution"))
    return parser


def _add_selection(group: argparse._ArgumentGroup) -> None:
    add_option(
        group, "--participant-label", nargs="+", metavar="LABEL",
        help="participants, with or without sub-, or a text file with one label a line",
    )  # fmt: skip
    add_option(group, "--session-label", "--session-id", nargs="+", metavar="LABEL", help="sessions")
    add_option(group, "-t", "--task-id", nargs="+", metavar="TASK", help="tasks")
    add_option(
        group, "--bids-filter-file", type=Path, metavar="FILE",
        help='JSON of {"bold": {entity: value}, "t1w": {entity: value}}; other queries are ignored',
    )  # fmt: skip
    add_option(
        group, "--skip-bids-validation", "--skip-bids-validator", action="store_true",
        help="do not call the BIDS validator",
    )  # fmt: skip
    add_option(group, "--bids-database-dir", type=Path, metavar="DIR", help="where pybids keeps its index")
    add_option(
        group, "-d", "--derivatives", nargs="+", metavar="NAME=PATH",
        help="derivatives to use; fmriprep=PATH gives preprocessed BOLD, betas=PATH single-trial responses,"
        " nsd=PATH the release of the Natural Scenes Dataset",
    )  # fmt: skip


def _add_pictures(group: argparse._ArgumentGroup) -> None:
    add_option(
        group, "--stimulus-spec", metavar="NAME|FILE",
        help="how events name pictures: a preset (such as ds001246) or a TOML file; default: the BIDS way",
    )  # fmt: skip
    add_option(
        group, "--stimuli", nargs="+", type=Path, metavar="PATH", help="folders of pictures, searched first"
    )
    add_option(
        group, "--captions", nargs="+", type=Path, metavar="FILE",
        help="captions of pictures: TSV (stim_file, caption) or COCO annotation JSON (stimuli/captions.tsv)",
    )  # fmt: skip
    add_option(
        group, "--split", metavar="SPEC",
        help="session:train=REGEX,NAME=REGEX | task:... | column:COLUMN:train=REGEX,NAME=REGEX | repeats:N"
        " | kfold:K | leave-one-stimulus-out",
    )  # fmt: skip
    add_option(
        group, "--on-leak", choices=CHOICES["on_leak"],
        help="when training and test share a picture: stop (default), drop it from training, or go on",
    )  # fmt: skip


def _add_preprocessing(group: argparse._ArgumentGroup) -> None:
    add_option(
        group, "--preprocess", choices=CHOICES["preprocess"],
        help="raw BOLD: correct slice timing and head motion and align sessions and T1w (full, the default),"
        " or take it as it is",
    )  # fmt: skip
    add_option(
        group, "--space", metavar="LABEL",
        help="space of fMRIPrep's BOLD (default: native, else T1w, else MNI)",
    )  # fmt: skip
    add_option(
        group, "--nuisance", nargs="+", choices=CHOICES["nuisance"],
        help="confounds that are regressed out beside drift (motion6)",
    )  # fmt: skip
    add_option(group, "--offline", action="store_true", help="open no connection: atlases must be cached")


def _add_responses(group: argparse._ArgumentGroup) -> None:
    add_option(
        group, "--roi", nargs="+", metavar="NAME",
        help="regions: labels of masks found, NAME=FILE.nii.gz, atlas:NAME, brain, and reliable:N for the N"
        " most reliable voxels of them (default: every region found)",
    )  # fmt: skip
    add_option(
        group, "--glm", metavar="NAME",
        help="single-trial estimator: block-average (default), lsa, lss, library, parametric",
    )  # fmt: skip
    add_option(
        group, "--hrf-shift", type=seconds, metavar="SECONDS",
        help="haemodynamic delay of the block average (default: the stimulus spec's, else 4)",
    )  # fmt: skip
    add_option(
        group, "--zscore", choices=CHOICES["zscore"],
        help="z-score by training trials, within run or over all (default: run for BOLD, all for betas)",
    )  # fmt: skip
    add_option(
        group,
        "--responses-only",
        action="store_true",
        help="stop after single-trial responses; no pictures needed",
    )
    add_option(
        group, "--no-average-trials", dest="average_trials", action="store_false",
        help="decode and score test trials one by one; default: the mean of a picture's test trials",
    )  # fmt: skip
    add_option(
        group, "--average-training", action="store_true",
        help="train on the mean of a picture's training trials; default: on each of them",
    )  # fmt: skip


def _add_execution(group: argparse._ArgumentGroup) -> None:
    add_option(
        group, "-w", "--work-dir", type=Path, metavar="DIR", help="folder for intermediate files (./work)"
    )
    add_option(
        group, "--nprocs", "--nthreads", "--n-cpus", type=whole_number, metavar="N",
        help="participants at a time times threads (default: all cores)",
    )  # fmt: skip
    add_option(group, "--omp-nthreads", type=whole_number, metavar="N", help="threads per process")
    add_option(
        group, "--mem", "--mem-mb", dest="memory_mb", type=memory, metavar="SIZE",
        help="memory limit with unit, such as 8G or 8000M; a bare number is MB",
    )  # fmt: skip
    add_option(group, "--device", choices=CHOICES["device"], help="where networks run (auto)")
    add_option(
        group, "--weights", type=Path, metavar="DIR",
        help="folder of the weights of published networks (default: BIDS_RECON_WEIGHTS, or the user's cache)",
    )  # fmt: skip
    add_option(
        group,
        "--batch-size",
        type=whole_number,
        metavar="N",
        help="pictures that networks draw at a time (16)",
    )
    add_option(
        group,
        "--config-file",
        type=Path,
        metavar="TOML",
        help="options of an earlier run; the command line wins",
    )
    add_option(
        group, "--stop-on-first-crash", action="store_true", help="do not go on with other participants"
    )
    add_option(
        group, "--dry-run", action="store_true", help="print the plan and what is missing; write nothing"
    )


def parse_settings(argv: Sequence[str] | None = None) -> Settings:
    """Turn the command line into settings.

    Raises
    ------
    UsageError, DataError, MissingInputError
        For options that cannot be carried out or files that cannot be read.
    SystemExit
        From argparse, with code 2, for options that cannot be parsed.
    """
    given = vars(build_parser().parse_args(argv))
    values = read_config_file(given.pop("config_file")) if "config_file" in given else {}
    values.update(given)
    for option, prefix in (("participant_label", "sub-"), ("session_label", "ses-"), ("task_id", "task-")):
        if option in values:
            values[option] = read_labels(values[option], prefix, option)
    if "bids_filter_file" in values:
        values["bids_filters"] = read_filters(values.pop("bids_filter_file"))
    if isinstance(values.get("derivatives"), list):
        values["derivatives"] = read_named_paths(values["derivatives"])
    for option in ONCE:
        if option in values:
            values[option] = tuple(dict.fromkeys(values[option]))
    values.setdefault(
        "nprocs", len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    values.setdefault("omp_nthreads", max(1, min(values["nprocs"] - 1, 8)))
    settings = Settings(**values)
    _check_folders(settings)
    return settings


def _check_folders(settings: Settings) -> None:
    bids_dir, output_dir = settings.bids_dir.resolve(), settings.output_dir.resolve()
    if not settings.bids_dir.is_dir():
        raise MissingInputError(
            "the BIDS folder does not exist", file=settings.bids_dir, remedy="Is it mounted?"
        )
    if output_dir == bids_dir:
        raise UsageError(
            "the output folder is the BIDS folder",
            file=settings.output_dir,
            remedy=f"Use {settings.bids_dir / 'derivatives' / f'bids_recon-{bids_recon.__version__}'}.",
        )
    if settings.work_dir.resolve().is_relative_to(bids_dir):
        raise UsageError(
            "the work folder lies inside the BIDS folder",
            file=settings.work_dir,
            remedy="Choose one with -w.",
        )
    for name, folder in settings.derivatives.items():
        if not folder.is_dir():
            raise MissingInputError(
                f"the folder of --derivatives {name} does not exist",
                file=folder,
                remedy="Is the volume mounted?",
            )
    if settings.decoders is not None:
        _check_decoders(settings, settings.decoders)
    for file in (*settings.captions, *((settings.eccentricity,) if settings.eccentricity else ())):
        if not file.is_file():
            raise MissingInputError("the file does not exist", file=file, remedy="Is the volume mounted?")
    for folder in (*settings.stimuli, *((settings.extra_images,) if settings.extra_images else ())):
        if not folder.is_dir():
            raise MissingInputError(
                "the folder of pictures does not exist", file=folder, remedy="Is it mounted?"
            )


def _check_decoders(settings: Settings, folder: Path) -> None:
    if not folder.is_dir():
        raise MissingInputError(
            "the folder of --decoders does not exist", file=folder, remedy="Is it mounted?"
        )
    if folder.resolve() == settings.output_dir.resolve():
        raise UsageError(
            "the output folder holds the decoders that would be used, and would lose them",
            file=folder,
            remedy="Choose another output folder.",
        )
    fitting = [
        *("decoder", "alpha", "alpha_selection", "alpha_per", "noise_covariance", "rescale"),
        *("encoder", "norm_correction", "vdvae_latents", "roi_pictures"),
        *("roi", "zscore", "extra_images", "legacy_test_statistics", "average_training"),
        # The group level draws by some of the layers that were decoded.
        *(("layers",) if "group" not in settings.levels else ()),
    ]
    if given := [name for name in fitting if getattr(settings, name)]:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(
            f"{options} cannot be given with --decoders, which were fitted with choices of their own",
            remedy="Leave one of them out.",
        )
