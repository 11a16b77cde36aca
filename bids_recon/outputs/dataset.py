"""The files that make an output folder a BIDS derivative data set."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

import bids_recon
from bids_recon.errors import CannotCreateError, from_os_error
from bids_recon.outputs.atomic import write_json, write_text, write_tsv
from bids_recon.outputs.lock import exclusive

BIDS_VERSION = "1.10.0"

# A pattern of .bidsignore that ends in a slash leaves the complaint on the folder itself.
IGNORED = (
    "/*.html",
    "/sub-*/figures",
    "/sub-*/recon",
    "/sub-*/decoder",
    "/sub-*/log",
    "/group",
    "*_statmap.*",
    "*_trials.*",
    "*_xfm.*",
    "*_boldref.*",
    "*_timeseries.*",
    "*_design.*",
    "*_dseg.*",
)

DESCRIPTIONS = (
    (
        "desc-SingletrialBetas",
        "One response estimate per stimulus presentation, in the order of the trials table",
    ),
    ("desc-brain", "Voxels that have responses"),
    ("desc-confounds", "What disturbs a run, named as by fMRIPrep"),
    ("desc-hmc", "Head-motion correction: transforms of the volumes of a run"),
    ("desc-coreg", "Alignment of the BOLD reference and the T1w image"),
    ("desc-NoiseceilingTraining", "Explainable variance, from repeats of training pictures"),
    ("desc-NoiseceilingTest", "Explainable variance, from repeats of test pictures; chooses nothing"),
    ("desc-HRFindex", "Haemodynamic response that was chosen for each voxel"),
    ("desc-Fracridge", "Fraction of ridge regression that was chosen for each voxel"),
)

README = """# bids_recon derivatives

Responses to single pictures, decoders, decoded latents, reconstructed pictures and their scores, written by
bids_recon {version} (a BIDS App). `docs/outputs.md` of the program describes every file and column.

* `sub-*/func`: single-trial responses (`desc-SingletrialBetas`), with the region masks they were read from;
  transforms, confounds and the BOLD reference where raw BOLD was preprocessed.
* `sub-*/decoder`: decoders and decoded latents, one set per method.
* `group`: reconstructed pictures, `metrics.tsv`, `items.tsv`, `images.tsv`.
* `sub-*.html`, `group.html`: reports.

Every score stands beside its floor (the same procedure with shuffled training responses) and its ceiling
(pictures rendered from true latents). A realistic picture is not an accurate one.
{simulated}"""

SIMULATED = "\nThe brain in this data set is simulated: no person was scanned.\n"


def initialise_output(
    output_dir: Path,
    *,
    bids_dir: Path,
    derivatives: Mapping[str, Path],
    simulated: bool = False,
) -> None:
    """Write the root files of the output folder, once, however many participants run at a time.

    Raises
    ------
    CannotCreateError, InputOutputError
        When the folder cannot be made or written.
    TemporaryError
        When another process holds the folder's lock for over a minute.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        (output_dir / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise from_os_error(error, output_dir) from error
    if not os.access(output_dir, os.W_OK):
        raise CannotCreateError(
            "the output folder cannot be written",
            file=output_dir,
            remedy="Choose another or change its rights.",
        )
    try:
        with exclusive(output_dir / "logs" / ".description.lock"):
            _write_root_files(output_dir, bids_dir, derivatives, simulated)
    except OSError as error:
        raise from_os_error(error, output_dir) from error


def _write_root_files(
    output_dir: Path, bids_dir: Path, derivatives: Mapping[str, Path], simulated: bool
) -> None:
    generated_by: dict[str, Any] = {"Name": "bids_recon", "Version": bids_recon.__version__}
    if container := _container():
        generated_by["Container"] = container
    description: dict[str, Any] = {
        "Name": "bids_recon: pictures reconstructed from fMRI",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": "See the source data set",
        "GeneratedBy": [generated_by],
        "SourceDatasets": [{"URL": bids_dir.resolve().as_uri()}],
        # The group level needs no derivatives, but files of the participant level refer to theirs.
        "DatasetLinks": {
            **_earlier_links(output_dir / "dataset_description.json"),
            **{name: path.resolve().as_uri() for name, path in {"raw": bids_dir, **derivatives}.items()},
        },
    }
    if simulated:
        description["Simulated"] = True
    write_json(output_dir / "dataset_description.json", description)
    write_text(output_dir / ".bidsignore", "\n".join(IGNORED) + "\n")
    write_text(
        output_dir / "README.md",
        README.format(version=bids_recon.__version__, simulated=SIMULATED if simulated else ""),
    )
    write_tsv(output_dir / "descriptions.tsv", pd.DataFrame(DESCRIPTIONS, columns=["desc_id", "description"]))


def _earlier_links(file: Path) -> dict[str, str]:
    try:
        links = json.loads(file.read_text(encoding="utf-8")).get("DatasetLinks", {})
    except (OSError, ValueError, AttributeError):
        return {}
    return links if isinstance(links, dict) else {}


def _container() -> dict[str, str] | None:
    # A Singularity image is made from the Docker image and keeps its variables.
    image = os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER")
    if image:
        return {"Type": "singularity", "URI": image}
    tag = os.environ.get("BIDS_RECON_DOCKER_TAG")
    return {"Type": "docker", "Tag": tag} if tag else None
