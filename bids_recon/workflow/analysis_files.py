"""Analyses on disk: maps and tables of weights, latents of synthetic patterns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.errors import DataError, from_os_error
from bids_recon.outputs.atomic import write_json, write_nifti, write_tsv
from bids_recon.outputs.names import derivative_name, label, unique_labels
from bids_recon.outputs.reading import read_json, read_tsv
from bids_recon.outputs.tensor_files import open_tensors, write_tensors
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.latents_store import decoding_file

WEIGHTS, OPTIMAL = "roiweights", "roioptimal"
AGAIN = "Run the participant level again, with --analyses."
NOT_SEEN = "No one saw what is drawn from them, and it has no score."
_PERCENTILE = "percentile"
_TEXT = ("roi", "space", "baseline", "note")
DECIMALS = 6
_COMMON = {
    "roi": "Region, or mix of regions",
    "space": "Latent space that is decoded",
    "baseline": "Latent space that it is compared with",
}
WEIGHT_NOTES = {
    **_COMMON,
    "n_voxels": "Voxels of the region",
    "percentile": "Mean over the voxels of the region of the percentile, among all voxels, of the L1 norm of"
    " a voxel's regression weights",
    "difference": "Percentile less that of the baseline, divided by the latter; n/a for the baseline itself",
    "note": "What to bear in mind; n/a otherwise",
}
MEAN_NOTES = {
    "method": "Reconstruction method",
    **_COMMON,
    "n_people": "People in whom the region has voxels",
    "n_voxels": "Mean over people of the voxels of the region",
    "percentile": f"Mean over people. {WEIGHT_NOTES['percentile']}",
    "percentile_sem": "Standard error of that mean; n/a for one person",
    "difference": f"Mean over people. {WEIGHT_NOTES['difference']}",
    "difference_sem": "Standard error of that mean; n/a for one person",
    "note": WEIGHT_NOTES["note"],
}
PICTURE_NOTES = {
    "subject": "Participant label; `average` is the mean of the latents over people",
    "method": "Reconstruction method",
    "roi": "Region, or mix of regions, that the synthetic pattern activates",
    "mix": "How it was written",
    "n_people": "People whose latents were averaged",
    "n_voxels": "Voxels that are 1 in the pattern; n/a for the mean over people",
    "file": f"Picture of a synthetic pattern, relative to the folder of this table. {NOT_SEEN}",
    "height": "Pixels",
    "width": "Pixels",
    "seed": "Seed of the picture",
}


@dataclass(frozen=True)
class SyntheticLatents:
    """Latents of synthetic patterns of one person, all in the latent spaces of one fold.

    Attributes
    ----------
    fold : str
    identity : str
        Of the fold's latent spaces, as in `DecodedFold`.
    regions : DataFrame
        Columns roi, mix and n_voxels, one row per pattern.
    latents : dict of str to ndarray (n_regions, *shape) float32
        By latent space.
    norms : dict of str to ndarray (n_tokens,) or ()
        Mean norms of training latents around their mean, which latents were stretched to.
    """

    fold: str
    identity: str
    regions: pd.DataFrame
    latents: dict[str, NDArray[np.float32]]
    norms: dict[str, NDArray[np.float64]]


def remove_analyses(output_dir: Path, subject: str, method: str) -> None:
    """Remove the analyses of decoders of an earlier call, which are not those of this one.

    Raises
    ------
    ReconError
        When a file cannot be removed.
    """
    folder = decoding_file(output_dir, subject, method, OPTIMAL, ".json").parent
    own = f"_desc-{label(method)}_"
    patterns = (
        f"sub-{subject}{own}{OPTIMAL}.*",
        f"sub-{subject}{own}{WEIGHTS}.*",
        f"sub-{subject}_*stat-{_PERCENTILE}_*{own}statmap.*",
    )
    # Sidecars are what the group level looks for: they go first.
    files = [file for pattern in patterns for file in folder.glob(pattern)]
    for file in sorted(files, key=lambda file: file.suffix != ".json"):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise from_os_error(error, file) from error


def write_strength_maps(
    output_dir: Path,
    subject: str,
    method: str,
    percentiles: Mapping[str, NDArray[np.floating]],
    voxels: VoxelSelection,
    facts: Mapping[str, Any],
) -> list[Path]:
    """Write a map of the strength of weights for each latent space, with its sidecar."""
    written: list[Path] = []
    for space, short in unique_labels(percentiles).items():
        entities = {"sub": subject, "space": voxels.space, "stat": _PERCENTILE, "label": short}
        name = derivative_name({**entities, "desc": label(method)}, "statmap", ".nii.gz")
        file = decoding_file(output_dir, subject, method, WEIGHTS, ".tsv").with_name(name)
        image = nib.Nifti1Image(voxels.volume(percentiles[space].astype(np.float32)), voxels.affine)
        image.header.set_xyzt_units("mm")
        content = {
            "Description": "Percentile, among the voxels that were decoded, of the L1 norm of a voxel's"
            " regression weights over all targets of the latent space; 0 elsewhere",
            "Units": "percent",
            "LatentSpace": space,
            **facts,
        }
        written += [
            write_nifti(file, image),
            write_json(file.with_name(name.replace(".nii.gz", ".json")), content),
        ]
    return written


def write_region_weights(
    output_dir: Path, subject: str, method: str, table: pd.DataFrame, facts: Mapping[str, Any]
) -> list[Path]:
    """Write the table of `region_weights`, and a sidecar with its columns."""
    file = decoding_file(output_dir, subject, method, WEIGHTS, ".tsv")
    content = {column: {"Description": WEIGHT_NOTES[column]} for column in table.columns}
    rounded = table.round(DECIMALS).assign(note=table["note"].replace("", "n/a"))
    return [write_tsv(file, rounded), write_json(file.with_suffix(".json"), {**content, **facts})]


def read_region_weights(output_dir: Path, subject: str, method: str) -> pd.DataFrame | None:
    """Read what `write_region_weights` wrote; None when there is nothing.

    Raises
    ------
    DataError
        When the table is damaged.
    """
    file = decoding_file(output_dir, subject, method, WEIGHTS, ".tsv")
    if not (file.is_file() and file.with_suffix(".json").is_file()):
        return None
    table = read_tsv(file, _TEXT, remedy=AGAIN)
    if missing := set(WEIGHT_NOTES) - set(table.columns):
        raise DataError(f"lacks the columns {sorted(missing)}", file=file, remedy=AGAIN)
    return table.assign(note=table["note"].fillna(""))


def write_synthetic_latents(
    output_dir: Path, subject: str, method: str, synthetic: SyntheticLatents, facts: Mapping[str, Any]
) -> list[Path]:
    """Write latents of synthetic patterns; the sidecar comes last."""
    arrays: dict[str, Any] = {f"latents/{space}": array for space, array in synthetic.latents.items()}
    arrays |= {f"norms/{space}": np.atleast_1d(norms) for space, norms in synthetic.norms.items()}
    content = {
        "Description": f"Latents of synthetic patterns of sub-{subject}, which the method {method} draws:"
        f" standardised responses that are 1 in a region and 0 elsewhere. {NOT_SEEN}",
        "Method": method,
        "Subject": subject,
        "Fold": synthetic.fold,
        "FoldIdentity": synthetic.identity,
        "Regions": [
            {"Name": row["roi"], "Mix": row["mix"], "Voxels": int(row["n_voxels"])}
            for row in synthetic.regions.to_dict("records")
        ],
        "LatentSpaces": {space: list(array.shape[1:]) for space, array in synthetic.latents.items()},
        "Norms": {
            space: {"Of": "each token" if norms.ndim else "the whole latent", "Mean": float(norms.mean())}
            for space, norms in synthetic.norms.items()
        },
        **facts,
    }
    file = decoding_file(output_dir, subject, method, OPTIMAL, ".safetensors")
    return [write_tensors(file, arrays), write_json(file.with_suffix(".json"), content)]


def read_synthetic_latents(output_dir: Path, subject: str, method: str) -> SyntheticLatents | None:
    """Read what `write_synthetic_latents` wrote; None when there is nothing.

    Raises
    ------
    MissingInputError, DataError
        When a file is missing beside the sidecar, or damaged.
    """
    sidecar_file = decoding_file(output_dir, subject, method, OPTIMAL, ".json")
    if not sidecar_file.is_file():
        return None
    sidecar = read_json(sidecar_file, remedy=AGAIN)
    arrays = open_tensors(sidecar_file.with_suffix(".safetensors"), remedy=AGAIN)
    try:
        rows = [(one["Name"], one["Mix"], one["Voxels"]) for one in sidecar["Regions"]]
        spaces = {space: tuple(shape) for space, shape in sidecar["LatentSpaces"].items()}
        latents = {space: np.asarray(arrays[f"latents/{space}"]) for space in spaces}
        norms = {
            space: np.asarray(arrays[f"norms/{space}"]).reshape(shape[:1] if len(shape) == 2 else ())
            for space, shape in spaces.items()
        }
        if any(latents[space].shape != (len(rows), *shape) for space, shape in spaces.items()):
            raise ValueError("shapes of latents")
        regions = pd.DataFrame(rows, columns=["roi", "mix", "n_voxels"])
        return SyntheticLatents(sidecar["Fold"], sidecar["FoldIdentity"], regions, latents, norms)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"does not fit {sidecar_file.with_suffix('.safetensors').name} ({error})",
            file=sidecar_file,
            remedy=AGAIN,
        ) from error
