"""Pictures of volumes: values in colour, regions in outline, two volumes to be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from bids_recon.report.montage import Mark, Montage, around, tissue
from bids_recon.report.palettes import COLOURS, GREYS, OUTLINES, indexed, outline_colours, scale_colours
from bids_recon.report.pictures import png_uri
from bids_recon.report.quality import Floats, MapFigure, Overlay
from bids_recon.report.tables import number

OUTLINE = 2
"""Thickness of the outlines of regions, in pixels."""
SMOOTHING = 2.0
"""Width of the filter before edges are sought, in pixels."""
WEAK, STRONG = 55, 85
"""Percentiles of the gradient within the head: an edge exceeds the first everywhere, the second somewhere."""
SHORTEST_EDGE = 15
"""Pixels that an edge must have: shorter ones are texture."""
EDGE_COLOUR = "#ffb454"


@dataclass(frozen=True)
class ColourBar:
    """Scale of values: its colours (a data URI) and what its ends stand for."""

    uri: str
    low: str
    high: str
    unit: str


@dataclass(frozen=True)
class DrawnMap:
    """A `MapFigure` as a picture (a data URI); `outlines` are (name, colour)."""

    title: str
    uri: str
    width: int
    height: int
    marks: tuple[Mark, ...]
    bar: ColourBar | None
    outlines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DrawnOverlay:
    """An `Overlay` as three pictures (data URIs) of the same slices."""

    title: str
    fixed: str
    moving: str
    edges: str
    fixed_name: str
    moving_name: str
    width: int
    height: int
    marks: tuple[Mark, ...]


def draw_map(figure: MapFigure) -> DrawnMap:
    """Draw values over a background, then the outlines of regions over both.

    Raises
    ------
    ValueError
        When the volumes are not on one grid.
    """
    values, shape = figure.values, figure.background.shape
    for volume in (values, *figure.outlines.values()):
        if volume is not None and volume.shape != shape:
            raise ValueError(f"volumes of {figure.title} are not on one grid: {volume.shape} and {shape}")
    of_interest = np.zeros(shape, bool) if values is None else np.isfinite(values)
    for mask in figure.outlines.values():
        of_interest |= mask.astype(bool)
    montage = Montage.of(figure.affine, tissue(figure.background) | of_interest, of_interest)
    indices = _greys(montage, figure.background)
    bar = None
    if values is not None and np.isfinite(values).any():
        limits = _limits(figure)
        sheet = montage.draw(np.where(np.isfinite(values), values, np.nan))
        # Between the slices a sheet is 0, which is no value.
        inside = np.isfinite(sheet) & (montage.draw(np.ones(shape, np.float32)) > 0)
        shares = np.clip((sheet[inside] - limits[0]) / (limits[1] - limits[0]), 0, 1)
        indices[inside] = GREYS + np.round(shares * (COLOURS - 1)).astype(np.uint8)
        bar = _bar(figure, values, limits)
    colours = outline_colours(len(figure.outlines))
    for place, mask in enumerate(figure.outlines.values()):
        indices[_rim(montage, mask)] = GREYS + COLOURS + place % OUTLINES
    return DrawnMap(
        title=figure.title,
        uri=png_uri(indexed(indices, figure.palette, colours)),
        width=montage.width,
        height=montage.height,
        marks=montage.marks,
        bar=bar,
        outlines=tuple(zip(figure.outlines, colours, strict=True)),
    )


def draw_overlay(overlay: Overlay) -> DrawnOverlay:
    """Draw both volumes alike, and the edges of the moving one on the fixed one.

    Raises
    ------
    ValueError
        When the two are not on one grid.
    """
    if overlay.fixed.shape != overlay.moving.shape:
        raise ValueError(
            f"volumes of {overlay.title} are not on one grid: "
            f"{overlay.fixed.shape} and {overlay.moving.shape}"
        )
    of_both = tissue(overlay.fixed) & tissue(overlay.moving)
    montage = Montage.of(overlay.affine, around(of_both, overlay.affine), of_both)
    fixed, moving = _greys(montage, overlay.fixed), _greys(montage, overlay.moving)
    edged = fixed.copy()
    edged[_edges(montage, overlay.moving)] = GREYS + COLOURS
    uris = [png_uri(indexed(picture, "sequential", [EDGE_COLOUR])) for picture in (fixed, moving, edged)]
    return DrawnOverlay(
        title=overlay.title,
        fixed=uris[0],
        moving=uris[1],
        edges=uris[2],
        fixed_name=overlay.fixed_name,
        moving_name=overlay.moving_name,
        width=montage.width,
        height=montage.height,
        marks=montage.marks,
    )


def _greys(montage: Montage, volume: Floats) -> NDArray[np.uint8]:
    """Sheet of indices of greys, between the 1st and the 99.5th percentile of the head."""
    finite = np.nan_to_num(volume, posinf=0, neginf=0)
    head = finite[tissue(finite)]
    low, high = (0.0, np.percentile(head, 99.5)) if head.size else (finite.min(), finite.max())
    sheet = montage.draw(finite, Image.Resampling.BICUBIC)
    shares = np.clip((sheet - low) / ((high - low) or 1), 0, 1)
    return np.round(shares * (GREYS - 1)).astype(np.uint8)


def _rim(montage: Montage, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a region that lie within `OUTLINE` of what is outside it."""
    region = montage.draw(mask.astype(np.float32)) > 0.5
    rim: NDArray[np.bool_] = region & ~ndimage.binary_erosion(region, iterations=OUTLINE)
    return rim


def _edges(montage: Montage, volume: Floats) -> NDArray[np.bool_]:
    """Pixels where the brightness of a volume changes most steeply.

    Zero crossings of the Laplacian of a Gaussian (Marr and Hildreth 1980, Theory of edge detection, Proc. R.
    Soc. B 207:187), chosen by the two thresholds of Canny (1986, IEEE PAMI 8:679).
    """
    sheet = montage.draw(np.nan_to_num(volume), Image.Resampling.BICUBIC)
    head = tissue(sheet)
    if not head.any():
        return np.zeros(sheet.shape, bool)
    curvature = ndimage.gaussian_laplace(sheet, SMOOTHING) > 0
    slope = ndimage.gaussian_gradient_magnitude(sheet, SMOOTHING)
    weak, strong = np.percentile(slope[head], (WEAK, STRONG))
    crossing = np.zeros(sheet.shape, bool)
    crossing[:-1] |= curvature[:-1] != curvature[1:]
    crossing[:, :-1] |= curvature[:, :-1] != curvature[:, 1:]
    # What lies at the rim of a tile is the end of the picture, not of the head.
    inner = ndimage.binary_erosion(montage.draw(np.ones(volume.shape, np.float32)) > 0, iterations=3)
    labels, n_edges = ndimage.label(crossing & inner & (slope > weak), np.ones((3, 3)))
    kept = np.zeros(n_edges + 1, bool)
    kept[np.unique(labels[slope > strong])] = True
    kept &= np.bincount(labels.ravel()) >= SHORTEST_EDGE
    kept[0] = False
    edges: NDArray[np.bool_] = kept[labels]
    return edges


def _limits(figure: MapFigure) -> tuple[float, float]:
    if figure.limits is not None:
        low, high = map(float, figure.limits)
    else:
        finite = figure.values[np.isfinite(figure.values)] if figure.values is not None else np.zeros(1)
        low, high = (float(end) for end in np.percentile(finite, (2, 98)))
        if figure.palette == "diverging":
            high = max(abs(low), abs(high))
            low = -high
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def _bar(figure: MapFigure, values: Floats, limits: tuple[float, float]) -> ColourBar:
    low, high = (number(_whole(limit)) for limit in limits)
    # A colour at an end also stands for what lies beyond it.
    low = f"≤ {low}" if np.nanmin(values) < limits[0] else low
    high = f"≥ {high}" if np.nanmax(values) > limits[1] else high
    strip = Image.fromarray(scale_colours(figure.palette)[None])
    return ColourBar(png_uri(strip), low, high, figure.unit)


def _whole(value: float) -> float | int:
    return int(value) if math.isfinite(value) and float(value).is_integer() else value
