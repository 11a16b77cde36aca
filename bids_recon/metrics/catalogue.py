"""The metrics by name: what they measure, which way is better, where chance lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Metric:
    """What is to be known of a metric to show and judge it.

    Attributes
    ----------
    name, display_name, definition : str
        As in tables; as in headings; what it measures, in one sentence.
    higher_is_better : bool
    chance : float or None
        Score without information, where theory fixes it; elsewhere only the measured floor tells.
    undefined : str
        Why no item may have a score; "" for a metric that is always defined.
    """

    name: str
    display_name: str
    definition: str
    higher_is_better: bool = True
    chance: float | None = None
    undefined: str = ""


_ONE_PICTURE = "identification needs at least two test pictures"
_ONE_RATER = "needs trials that two raters answered"

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(
                "pixcorr",
                "PixCorr",
                "Pearson correlation of the pixels of reconstruction and seen picture, all colours together.",
            ),
            Metric("ssim", "SSIM", "Structural similarity of the grey pictures, 11 x 11 Gaussian window."),
            Metric(
                "ssim-legacy1d",
                "SSIM (1-D, legacy)",
                "Structural similarity within pixel columns only, as published code before 2023 measured it.",
            ),
            Metric(
                "latent-correlation",
                "Latent correlation",
                "Pearson correlation of the decoded latent with that of the seen picture, over dimensions.",
            ),
            Metric(
                "profile-correlation",
                "Profile correlation",
                "Correlation of a unit's decoded with its true values over test pictures, mean over units.",
                undefined="profiles need at least three test pictures, and units whose true values differ",
            ),
            Metric(
                "feature-correlation",
                "Feature correlation",
                "Pearson correlation of a network's features of the reconstruction and of the seen picture.",
            ),
            Metric(
                "two-way-a",
                "Two-way identification (A)",
                "How often a prediction is more like its own picture than another one seen.",
                chance=0.5,
                undefined=_ONE_PICTURE,
            ),
            Metric(
                "two-way-b",
                "Two-way identification (B)",
                "How often a seen picture is more like its own prediction than the prediction of another.",
                chance=0.5,
                undefined=f"{_ONE_PICTURE} and predictions that differ",
            ),
            Metric(
                "two-way-c",
                "Two-way identification (C)",
                "How often two predictions fit their two pictures better than the two exchanged.",
                chance=0.5,
                undefined=_ONE_PICTURE,
            ),
            Metric(
                "human-two-way",
                "Human two-way choice",
                "How often raters chose the original of a reconstruction from it and another picture of the "
                "test set.",
                chance=0.5,
            ),
            Metric(
                "human-n-way",
                "Human n-way choice",
                "How often raters chose the original of a reconstruction among several pictures of the test "
                "set.",
            ),
            Metric(
                "human-preference",
                "Human preference",
                "How often raters found this reconstruction of a picture better than another one of it.",
                chance=0.5,
            ),
            Metric(
                "rater-agreement",
                "Rater agreement (two-way)",
                "Krippendorff's alpha between raters of two-way choices; 1 is perfect, 0 is chance.",
                chance=0.0,
                undefined=_ONE_RATER,
            ),
            Metric(
                "rater-agreement-n-way",
                "Rater agreement (n-way)",
                "Krippendorff's alpha between raters of n-way choices; 1 is perfect, 0 is chance.",
                chance=0.0,
                undefined=_ONE_RATER,
            ),
            Metric(
                "rater-agreement-preference",
                "Rater agreement (preference)",
                "Krippendorff's alpha between raters of preferences; 1 is perfect, 0 is chance.",
                chance=0.0,
                undefined=_ONE_RATER,
            ),
        )
    }
)

_ATTRIBUTE = "two-way-a/"


def attribute_metric(attribute: str) -> str:
    """Name of the metric of identification among pictures that differ in one attribute: `two-way-a/shape`."""
    return _ATTRIBUTE + attribute


def find_metric(name: str) -> Metric | None:
    """What is known of a metric, one of an attribute included; None when the catalogue lacks it."""
    attribute = name.removeprefix(_ATTRIBUTE)
    if attribute in ("", name):
        return METRICS.get(name)
    return Metric(
        name,
        f"Two-way identification (A) of {attribute}",
        f"How often a prediction is more like its own picture than one that differs in {attribute} alone.",
        chance=0.5,
        undefined=f"no two test pictures differ in {attribute} alone",
    )
