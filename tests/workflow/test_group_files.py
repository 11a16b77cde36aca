"""Tables of the group level on disk, and what later calls keep of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.outputs.reading import read_tsv
from bids_recon.workflow.column_notes import IMAGE_COLUMNS, METRIC_COLUMNS, TEXT_COLUMNS
from bids_recon.workflow.group_files import write_table

HOW = {"generator": None, "optimiser": None, "iterations": 50, "layer_order": None, "layers": ["fc6"]}


def metrics(method: str, value: float, roi: str = "all") -> pd.DataFrame:
    row: dict[str, object] = dict.fromkeys(METRIC_COLUMNS, 0.5)
    row |= {"subject": "01", "method": method, "roi": roi, "test_set": "test", "metric": "m"}
    row |= {"protocol": "p", "value": value, "n_items": 3, "note": ""}
    return pd.DataFrame([row])[list(METRIC_COLUMNS)]


def images(method: str) -> pd.DataFrame:
    row: dict[str, object] = dict.fromkeys(IMAGE_COLUMNS, "x")
    row |= {"subject": "01", "method": method, "roi": "all", "trial_index": None}
    return pd.DataFrame([row])[list(IMAGE_COLUMNS)].astype({"trial_index": "Int64"})


def write_metrics(folder: Path, *tables: pd.DataFrame) -> pd.DataFrame:
    table = pd.concat(tables, ignore_index=True)
    write_table(folder, "metrics", table, METRIC_COLUMNS, table["method"].unique().tolist())
    return read_tsv(folder / "metrics.tsv", TEXT_COLUMNS)


def test_rows_of_other_methods_are_kept_and_own_ones_replaced(tmp_path: Path) -> None:
    write_metrics(tmp_path, metrics("a", 1.0), metrics("b", 2.0, "V1"))
    table = write_metrics(tmp_path, metrics("a", 3.0))
    assert table[["method", "roi", "value"]].to_numpy().tolist() == [["b", "V1", 2.0], ["a", "all", 3.0]]


def test_rows_of_an_earlier_version_are_kept(tmp_path: Path) -> None:
    write_metrics(tmp_path, metrics("a", 1.0), metrics("b", 2.0))
    old = pd.read_csv(tmp_path / "metrics.tsv", sep="\t", dtype=str, keep_default_na=False)
    old.drop(columns=["roi", "p_permutation"]).to_csv(tmp_path / "metrics.tsv", sep="\t", index=False)
    table = write_metrics(tmp_path, metrics("a", 3.0))
    assert list(table.columns) == list(METRIC_COLUMNS)
    assert table[["method", "roi", "value"]].to_numpy().tolist() == [["b", "all", 2.0], ["a", "all", 3.0]]
    np.testing.assert_array_equal(table["p_permutation"], [np.nan, 0.5])
    assert table["n_items"].tolist() == [3, 3]


def test_a_table_of_something_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "metrics.tsv").write_text("method\tcolour\nb\tred\n")
    assert write_metrics(tmp_path, metrics("a", 3.0))["method"].tolist() == ["a"]


def test_how_pictures_were_drawn_stands_beside_the_columns(tmp_path: Path) -> None:
    def write(**drawing: dict[str, object]) -> dict[str, object]:
        table = pd.concat([images(name) for name in drawing], ignore_index=True)
        write_table(tmp_path, "images", table, IMAGE_COLUMNS, list(drawing), drawing=drawing)
        content: dict[str, object] = json.loads((tmp_path / "images.json").read_text())
        assert list(content)[: len(IMAGE_COLUMNS)] == list(IMAGE_COLUMNS)
        return content

    assert "Drawing" not in write(eigenimage={})
    assert write(eigenimage={}, deep=HOW)["Drawing"] == {"deep": HOW}
    # What another method was drawn with is kept, as its pictures are.
    assert write(eigenimage={})["Drawing"] == {"deep": HOW}
    assert write(deep={**HOW, "iterations": 7})["Drawing"] == {"deep": {**HOW, "iterations": 7}}
