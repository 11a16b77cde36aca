"""Tables and pictures of the group level on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.dataset.stimuli import StimulusSet
from bids_recon.methods.seeds import picture_seed
from bids_recon.outputs.atomic import write_json, write_png, write_tsv
from bids_recon.outputs.names import label, stimulus_filename
from bids_recon.outputs.reading import read_json, read_tsv
from bids_recon.workflow.column_notes import IMAGE_COLUMNS, TEXT_COLUMNS
from bids_recon.workflow.decoding import Decoded
from bids_recon.workflow.region_names import ALL
from bids_recon.workflow.samples import Samples, sample_file, spread_file, spread_map
from bids_recon.workflow.scoring import Scores

DECIMALS = 6


def write_pictures(
    group_dir: Path,
    bids_dir: Path,
    who: Mapping[str, str],
    decoded: Decoded,
    scores: Scores,
    stimuli: StimulusSet,
    seed: int,
    *,
    region_label: str = "",
    samples: Samples | None = None,
) -> pd.DataFrame:
    """Write the reconstructions of one person, method and region.

    Parameters
    ----------
    group_dir, bids_dir : Path
    who : mapping
        `subject`, `method` and `roi`.
    decoded : Decoded
    scores : Scores
        With pictures.
    stimuli : StimulusSet
    seed : int
        Of the run.
    region_label : str
        Names the folder of a region; empty for all voxels.
    samples : Samples, optional
        Further pictures of each item, which are written too, with a map of their spread.

    Returns
    -------
    DataFrame
        Columns `IMAGE_COLUMNS`, one row per picture.
    """
    assert scores.reconstructed is not None
    folder = Path("images") / who["subject"] / label(who["method"])
    if region_label:
        folder /= f"roi-{region_label}"
    rows = []
    items = zip(decoded.items.to_dict("records"), scores.reconstructed, strict=True)
    for row, (item, picture) in enumerate(items):
        stimulus_id, trial = str(item["stimulus_id"]), int(item["trial_index"])
        stem = stimulus_filename(stimulus_id) + ("" if trial < 0 else f"_trial-{trial}")
        file = folder / str(item["test_set"]) / f"{stem}.png"
        write_png(group_dir / file, picture)
        rows.append(
            {
                **who,
                "test_set": item["test_set"],
                "stimulus_id": stimulus_id,
                "trial_index": trial if trial >= 0 else None,
                "n_trials": item["n_trials"],
                "file": file.as_posix(),
                "seen_file": _seen_file(stimuli, stimulus_id, bids_dir),
                "height": picture.shape[0],
                "width": picture.shape[1],
                "seed": int(picture_seed(seed, stimulus_id)),
                **_write_samples(
                    group_dir, file.as_posix(), [picture, *(samples.of(row) if samples else ())]
                ),
            }
        )
    return pd.DataFrame(rows, columns=list(IMAGE_COLUMNS)).astype({"trial_index": "Int64"})


def _write_samples(group_dir: Path, file: str, pictures: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """Write further pictures of an item and the map of their spread; give what the table says of them."""
    if len(pictures) == 1:
        return {"n_samples": 1, "spread": None, "spread_file": None}
    for number, picture in enumerate(pictures[1:], start=1):
        write_png(group_dir / sample_file(file, number), picture)
    spread = spread_map(np.stack(pictures))
    write_png(group_dir / spread_file(file), spread.round().clip(0, 255).astype(np.uint8))
    return {"n_samples": len(pictures), "spread": float(spread.mean()), "spread_file": spread_file(file)}


def remove_unlisted(group_dir: Path, method: str, images: Sequence[pd.DataFrame]) -> None:
    """Remove pictures of an earlier call, of other people or another split, that no table names any more."""
    listed: set[str] = set()
    for row in (row for table in images for row in table.to_dict("records")):
        file, n_samples = str(row["file"]), int(row["n_samples"])
        listed |= {file} | {sample_file(file, number) for number in range(1, n_samples)}
        listed |= {spread_file(file)} if n_samples > 1 else set()
    for path in group_dir.glob(f"images/*/{label(method)}/**/*.png"):
        if path.relative_to(group_dir).as_posix() not in listed:
            path.unlink()


def _seen_file(stimuli: StimulusSet, stimulus_id: str, bids_dir: Path) -> str | None:
    path = stimuli.file(stimulus_id)
    if path is None:
        return None
    inside = path.absolute().is_relative_to(bids_dir.absolute())
    return path.absolute().relative_to(bids_dir.absolute()).as_posix() if inside else path.name


def write_table(
    folder: Path,
    name: str,
    table: pd.DataFrame,
    columns: dict[str, str],
    methods: Sequence[str],
    *,
    drawing: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write a table and its sidecar; what they say of methods that this call did not run is kept.

    Rows of an earlier version, which knew fewer columns, are of all voxels together. `drawing` goes to the
    sidecar: how each method draws.
    """
    file, sidecar_file = folder / f"{name}.tsv", folder / f"{name}.json"
    if file.is_file():
        old = read_tsv(file, TEXT_COLUMNS)
        if "method" in old and set(old.columns) <= set(table.columns):
            kept = old[~old["method"].isin(list(methods))].assign(roi=lambda rows: rows.get("roi", ALL))
            kept = kept.reindex(columns=table.columns)
            table = pd.concat([kept, table], ignore_index=True) if len(kept) else table
    if "trial_index" in table:
        table = table.assign(
            trial_index=table["trial_index"].where(table["trial_index"] >= 0).astype("Int64")
        )
    if "note" in table:
        table = table.assign(note=table["note"].replace("", "n/a"))
    content: dict[str, Any] = {column: {"Description": text} for column, text in columns.items()}
    if drawing is not None:
        before = read_json(sidecar_file).get("Drawing", {}) if sidecar_file.is_file() else {}
        others = {method: how for method, how in before.items() if method not in methods}
        drawn = others | {method: dict(how) for method, how in drawing.items() if how}
        content |= {"Drawing": drawn} if drawn else {}
    write_tsv(file, table.round(DECIMALS))
    write_json(sidecar_file, content)
