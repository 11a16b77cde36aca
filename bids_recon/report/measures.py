"""What a reader has to know of a measure: its name in words, what it measures, which way is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_recon.metrics.catalogue import find_metric
from bids_recon.metrics.protocols import PROTOCOLS


@dataclass(frozen=True)
class Measure:
    """A metric as it is shown; `chance` is NaN where theory does not fix it."""

    name: str
    definition: str
    lower_is_better: bool
    chance: float


def display_name(metric: str) -> str:
    """Name in words; a metric that is not in the catalogue keeps its own."""
    known = find_metric(metric)
    return known.display_name if known else metric or "score"


def measure_of(metric: str, rows: pd.DataFrame, definitions: Mapping[str, str]) -> Measure:
    """Look a metric up; for one that is not in the catalogue, tell from its `rows` which way is better.

    Parameters
    ----------
    metric : str
        Name as in the table.
    rows : DataFrame
        Its rows: a column `higher_is_better` counts first, then the catalogue, then whether the ceilings lie
        below the floors.
    definitions : dict of str to str
        Sentences that replace those of the catalogue.
    """
    known = find_metric(metric)
    told = rows["higher_is_better"].dropna().tolist() if "higher_is_better" in rows else []
    if told:
        lower = not told[0]
    elif known is not None:
        lower = not known.higher_is_better
    else:
        gains = (rows["ceiling"] - rows["floor"]).dropna()
        lower = bool((gains < 0).sum() > (gains > 0).sum())
    return Measure(
        name=display_name(metric),
        definition=definitions.get(metric, known.definition if known else ""),
        lower_is_better=lower,
        chance=math.nan if known is None or known.chance is None else known.chance,
    )


def latent_space(protocol: str) -> str:
    """Latent space that a protocol such as `latents-1/conv1_1` names; "" where it names none."""
    return protocol.partition("/")[2]


def pictures_first(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of protocols of latents after all others, otherwise in their order; by a column `protocol`."""
    bases = [str(protocol).partition("/")[0] for protocol in table["protocol"]]
    of_latents = [base in PROTOCOLS and PROTOCOLS[base].image_size is None for base in bases]
    return table.iloc[np.argsort(of_latents, kind="stable")].reset_index(drop=True)
