"""Decoded latents on disk: what the participant level hands to the group level."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bids_recon.dataset.layout import list_participants
from bids_recon.errors import DataError, MissingInputError, from_os_error
from bids_recon.outputs.atomic import write_json, write_tsv
from bids_recon.outputs.names import derivative_name, label, unique_labels
from bids_recon.outputs.reading import read_json, read_tsv
from bids_recon.outputs.tensor_files import open_tensors, write_tensors
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.column_notes import TEXT_COLUMNS
from bids_recon.workflow.decoder_store import decoder_facts, write_decoders
from bids_recon.workflow.decoding import ITEM_COLUMNS, Decoded, DecodedFold


def decoding_file(
    output_dir: Path, subject: str, method: str, suffix: str, extension: str, region_label: str = ""
) -> Path:
    """Where a file of one participant's decoding lies, from all voxels or from those of one region."""
    entities = {"subject": subject, "label": region_label, "description": label(method)}
    name = derivative_name(entities, suffix, extension)
    return output_dir / f"sub-{subject}" / "decoder" / name


def write_decoded(
    output_dir: Path,
    subject: str,
    method: str,
    decoded: Decoded,
    sidecar: Mapping[str, Any],
    voxels: VoxelSelection,
    region: str = "",
) -> list[Path]:
    """Write items, latents, latent spaces and decoders of one participant.

    Where there are no decoders, because an earlier run's were used, no file of decoders is written.
    `region` is one of those of `voxels`, and its files bear its label among them; empty for all voxels.

    The JSON sidecar is written last, and one of an earlier run removed first: the group level reads a
    participant only when it is there.
    """
    own = unique_labels(voxels.rois)[region] if region else ""
    sidecar_file = decoding_file(output_dir, subject, method, "decoder", ".json", own)
    _remove(sidecar_file)
    arrays: dict[str, Any] = {}
    for fold in decoded.folds:
        for kind, named in (("predicted", fold.predicted), ("floor", fold.floor), ("space", fold.state)):
            arrays.update({f"{kind}/{fold.name}/{name}": array for name, array in named.items()})
    items = decoded.items.assign(
        trial_index=decoded.items["trial_index"].where(decoded.items["trial_index"] >= 0)
    )
    items = items.assign(trial_index=items["trial_index"].astype("Int64")).replace("", "n/a")
    content = {
        "Description": f"Decoded latents of sub-{subject} by the method {method}",
        "Method": method,
        "Subject": subject,
        **({"Region": region} if region else {}),
        "LatentSpaces": {
            fold.name: {space: list(array.shape[1:]) for space, array in fold.predicted.items()}
            for fold in decoded.folds
        },
        "FoldIdentities": {fold.name: fold.identity for fold in decoded.folds},
        "Decoders": {fold.name: fold.summaries for fold in decoded.folds},
        "Shuffles": decoded.n_shuffles,
        **decoder_facts(decoded, voxels),
        **sidecar,
        **({"Voxels": int(voxels.rois[region].sum())} if region else {}),
    }
    weights = decoding_file(output_dir, subject, method, "decoder", ".safetensors", own)
    return [
        write_tensors(decoding_file(output_dir, subject, method, "latents", ".safetensors", own), arrays),
        *write_decoders(weights, decoded, voxels),
        write_tsv(decoding_file(output_dir, subject, method, "latents", ".tsv", own), items),
        write_json(sidecar_file, content),
    ]


def write_regions(output_dir: Path, subject: str, method: str, regions: pd.DataFrame) -> Path:
    """Write the accuracy by region of one participant."""
    return write_tsv(decoding_file(output_dir, subject, method, "rois", ".tsv"), regions)


def read_regions(output_dir: Path, subject: str, method: str) -> pd.DataFrame:
    """Read what `write_regions` wrote; an empty table when there is none."""
    file = decoding_file(output_dir, subject, method, "rois", ".tsv")
    return read_tsv(file, TEXT_COLUMNS) if file.is_file() else pd.DataFrame()


def decoded_subjects(output_dir: Path, method: str) -> list[str]:
    """Participants whose decoded latents are complete."""
    return [
        subject
        for subject in list_participants(output_dir)
        if decoding_file(output_dir, subject, method, "decoder", ".json").is_file()
    ]


def decoded_regions(output_dir: Path, subject: str, method: str) -> dict[str, str]:
    """Regions whose decoded latents were written on their own, for pictures of each: names by label."""
    files = decoding_file(output_dir, subject, method, "decoder", ".json", "REGION")
    before, after = files.name.split("REGION")
    found = {}
    for file in sorted(files.parent.glob(f"{before}*{after}")):
        if region := read_json(file).get("Region"):
            found[file.name.removeprefix(before).removesuffix(after)] = str(region)
    return found


def remove_decoded(output_dir: Path, subject: str, method: str) -> None:
    """Remove what an earlier call decoded, before anything is written.

    First the sidecar, without which the group level does not read a participant; then all files of single
    regions, which this call may not write again.

    Raises
    ------
    ReconError
        When a file cannot be removed.
    """
    sidecar_file = decoding_file(output_dir, subject, method, "decoder", ".json")
    _remove(sidecar_file)
    of_regions = f"sub-{subject}_label-*_desc-{label(method)}_*"
    # Sidecars are what other calls look for.
    for file in sorted(sidecar_file.parent.glob(of_regions), key=lambda file: file.suffix != ".json"):
        _remove(file)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, file) from error


def read_decoded(
    output_dir: Path, subject: str, method: str, region_label: str = ""
) -> tuple[Decoded, dict[str, Any]]:
    """Read what `write_decoded` wrote, but for the decoders' own arrays.

    `region_label` is one that `decoded_regions` found; empty for what was decoded from all voxels.

    Returns
    -------
    decoded : Decoded
    sidecar : dict

    Raises
    ------
    MissingInputError
        When the participant level was not run.
    DataError
        When a file is damaged.
    """
    sidecar_file = decoding_file(output_dir, subject, method, "decoder", ".json", region_label)
    latents_file = decoding_file(output_dir, subject, method, "latents", ".safetensors", region_label)
    items_file = decoding_file(output_dir, subject, method, "latents", ".tsv", region_label)
    again = "Run the participant level again."
    for file in (sidecar_file, latents_file, items_file):
        if not file.is_file():
            raise MissingInputError("is missing", file=file, remedy=again)
    sidecar = read_json(sidecar_file, remedy=again)
    # Those of many layers are read as they are used.
    arrays = open_tensors(latents_file, remedy=again)
    items = read_tsv(items_file, TEXT_COLUMNS)
    if missing := set(ITEM_COLUMNS) - set(items.columns):
        raise DataError(f"lacks the columns {sorted(missing)}", file=items_file, remedy=again)
    try:
        folds = _folds(sidecar, arrays, items)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"does not fit {latents_file.name} and {items_file.name} ({error})",
            file=sidecar_file,
            remedy=again,
        ) from error
    return Decoded(folds), sidecar


def _folds(
    sidecar: Mapping[str, Any], arrays: Mapping[str, Any], items: pd.DataFrame
) -> tuple[DecodedFold, ...]:
    items = items.assign(trial_index=items["trial_index"].fillna(-1).astype(int))
    for column in ("stim_file", "session", "task"):
        items[column] = items[column].fillna("")
    stored: dict[str, dict[str, dict[str, Any]]] = {"predicted": {}, "floor": {}, "space": {}}
    for name, array in arrays.items():
        kind, fold, key = name.split("/", 2)
        stored[kind].setdefault(fold, {})[key] = array
    folds = []
    for fold, identity in sidecar["FoldIdentities"].items():
        part = items[items["fold"] == fold].reset_index(drop=True)
        # In the order of decoding; the file has its own.
        spaces = sidecar["LatentSpaces"][fold]
        predicted, floor = (
            {space: stored[kind][fold][space] for space in spaces} for kind in ("predicted", "floor")
        )
        if any(len(array) != len(part) for array in predicted.values()):
            raise ValueError(f"fold {fold} has {len(part)} rows in the table")
        # A pretrained latent space has nothing to be stored.
        state, summaries = stored["space"].get(fold, {}), sidecar["Decoders"][fold]
        folds.append(DecodedFold(fold, part, predicted, floor, state, identity, summaries))
    return tuple(folds)
