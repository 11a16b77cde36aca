"""Named, versioned sets of metrics, and what they give.

A protocol never changes once released: whatever would move a number (the size of comparison, the resize, a
metric's definition) makes a new version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bids_recon.errors import UsageError
from bids_recon.metrics.catalogue import attribute_metric
from bids_recon.metrics.identification import correlation_matrix, target_rows, two_way_a, two_way_b, two_way_c
from bids_recon.metrics.pixel import pixcorr, ssim, ssim_legacy1d
from bids_recon.metrics.prepare import Pictures, to_common_size

Items = dict[str, NDArray[np.float64]]
"""Score of each prediction, (n_predicted,), by metric."""


@dataclass(frozen=True)
class Protocol:
    """A named, versioned set of metrics and the conditions under which they are taken.

    Attributes
    ----------
    name : str
    version : int
    metrics : tuple of str
        Names of metrics, in the order of the table.
    image_size : int or None
        Side in pixels at which pictures are compared; None for a protocol of latents.
    antialias : bool
        Whether the resize to that size is antialiased.
    notes : str
        What was chosen, and why.
    """

    name: str
    version: int
    metrics: tuple[str, ...]
    image_size: int | None
    antialias: bool = True
    notes: str = ""

    @property
    def key(self) -> str:
        """Name and version, as written in tables: `pixels-1`."""
        return f"{self.name}-{self.version}"


PIXELS_1 = Protocol(
    "pixels",
    1,
    ("pixcorr", "ssim", "ssim-legacy1d", "two-way-a", "two-way-b", "two-way-c"),
    image_size=128,
    notes=(
        "Compared at 128 x 128 after a bilinear antialiased resize: no finer than most methods draw, so that "
        "invented detail is not scored, and an 11-pixel SSIM window spans a twelfth of the picture. "
        "Identification by Pearson correlation over all pixels and colours. SSIM depends on the size: not "
        "comparable with figures published at 425 x 425."
    ),
)
LATENTS_1 = Protocol(
    "latents",
    1,
    ("latent-correlation", "two-way-a", "two-way-b", "two-way-c"),
    image_size=None,
    notes="Pearson correlation over latent dimensions as they are: not centred, not scaled by dimension.",
)
ATTRIBUTES_1 = Protocol(
    "attributes",
    1,
    (attribute_metric("ATTRIBUTE"),),
    image_size=128,
    notes=(
        "Pictures as in pixels-1. A reconstruction is compared with pictures that differ in one attribute "
        "and agree in all others; one metric for each attribute, named after it."
    ),
)
PROFILES_1 = Protocol(
    "profiles",
    1,
    ("profile-correlation",),
    image_size=None,
    notes="Trials of one picture are averaged first. Units whose true value is constant are left out.",
)
MOBILENETV2_1 = Protocol(
    "mobilenetv2",
    1,
    ("feature-correlation", "two-way-a", "two-way-b", "two-way-c"),
    image_size=224,
    notes=(
        "Pearson correlation of the 1280 pooled features of MobileNetV2, trained on ImageNet (torchvision's "
        "mobilenet_v2-b0353104). The whole picture is stretched to 224 x 224, bilinear and antialiased."
    ),
)
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {one.key: one for one in (PIXELS_1, ATTRIBUTES_1, LATENTS_1, PROFILES_1, MOBILENETV2_1)}
)

_PICTURE_METRICS = {"pixcorr": pixcorr, "ssim": ssim, "ssim-legacy1d": ssim_legacy1d}
IDENTIFICATION = ("two-way-a", "two-way-b", "two-way-c")


def _own_correlation(C: NDArray[np.float64], target: NDArray[np.integer]) -> NDArray[np.float64]:
    return C[target, np.arange(len(target))]


_CORRELATION_METRICS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "latent-correlation": _own_correlation,
    "feature-correlation": _own_correlation,
    "two-way-a": two_way_a,
    "two-way-b": two_way_b,
    "two-way-c": two_way_c,
}


def get_protocol(protocol: str | Protocol) -> Protocol:
    """Protocol of a key such as `pixels-1`; a protocol is handed back.

    Raises
    ------
    UsageError
        When no protocol has that key.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise UsageError(
            f"there is no metric protocol {protocol!r}", remedy=f"Known ones: {', '.join(PROTOCOLS)}."
        )
    return PROTOCOLS[protocol]


def evaluate_pictures(
    reconstructed: Pictures,
    seen: Pictures,
    target: NDArray[np.integer] | None = None,
    protocol: str | Protocol = "pixels-1",
) -> Items:
    """Score reconstructed pictures against those seen.

    Parameters
    ----------
    reconstructed : n_predicted pictures, of any sizes
        To score many sets against the same pictures, prepare `seen` once with `to_common_size`.
    seen : n_truth pictures, of any sizes
        Each test picture once: identification compares with every other one of them.
    target : ndarray (n_predicted,) of int, optional
        Index in `seen` of what each reconstruction should show; by default the same position.
    protocol : str or Protocol

    Returns
    -------
    dict of ndarray (n_predicted,)
        By metric; NaN where a metric is undefined (`Metric.undefined` says why).

    Raises
    ------
    UsageError
        When the protocol is unknown.
    ValueError
        When the protocol is not one of pictures, or shapes do not fit.
    """
    chosen = get_protocol(protocol)
    check_metrics(chosen, {*_PICTURE_METRICS, *IDENTIFICATION}, "pictures", sized=True)
    assert chosen.image_size is not None
    pictures, truths = (
        to_common_size(images, chosen.image_size, antialias=chosen.antialias)
        for images in (reconstructed, seen)
    )
    rows = target_rows(target, len(pictures), len(truths))
    items = evaluate_vectors(pictures, truths, rows, chosen)
    for name in chosen.metrics:
        if name in _PICTURE_METRICS:
            items[name] = _PICTURE_METRICS[name](pictures, truths[rows])
    return {name: items[name] for name in chosen.metrics}


def evaluate_latents(
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
    target: NDArray[np.integer] | None = None,
    protocol: str | Protocol = "latents-1",
) -> Items:
    """Score decoded latents against those of the pictures seen.

    Parameters
    ----------
    predicted : ndarray (n_predicted, *shape)
    truth : ndarray (n_truth, *shape)
        Each test picture once.
    target : ndarray (n_predicted,) of int, optional
        Row of `truth` that each prediction should match; by default the same position.
    protocol : str or Protocol

    Returns
    -------
    dict of ndarray (n_predicted,)
        By metric; NaN where a metric is undefined (`Metric.undefined` says why).

    Raises
    ------
    UsageError
        When the protocol is unknown.
    DataError
        When a latent holds NaN or infinite values.
    ValueError
        When the protocol is not one of latents, or shapes do not fit.
    """
    chosen = get_protocol(protocol)
    check_metrics(chosen, {"latent-correlation", *IDENTIFICATION}, "latents", sized=False)
    return evaluate_vectors(predicted, truth, target_rows(target, len(predicted), len(truth)), chosen)


def check_metrics(protocol: Protocol, known: set[str], what: str, *, sized: bool) -> None:
    """Refuse a protocol that has metrics of something else, or a picture size where there are no pictures.

    Raises
    ------
    ValueError
        When it does not fit.
    """
    if (protocol.image_size is not None) != sized or not known >= set(protocol.metrics):
        raise ValueError(f"protocol {protocol.key} does not score {what}")


def evaluate_vectors(predicted: NDArray, truth: NDArray, target: NDArray[np.intp], chosen: Protocol) -> Items:
    """Scores of those metrics of a protocol that rest on the correlations of all with all."""
    C = correlation_matrix(truth, predicted)
    names = [name for name in chosen.metrics if name in _CORRELATION_METRICS]
    return {name: _CORRELATION_METRICS[name](C, target) for name in names}
