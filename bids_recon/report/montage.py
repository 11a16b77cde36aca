"""Slices of volumes side by side: axial, coronal and sagittal rows, right of the head on the right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray
from PIL import Image

COLUMNS = 7
WIDTH = 1120
"""Largest width of a montage, in pixels."""
GAP = 6
LABELS = 18
"""Room above every row for the positions of its slices, in pixels."""

MARGIN = 15.0
"""What is shown around the part that two volumes share, in mm."""

SOUGHT = 0.2
"""What exceeds this share of the bright end of a volume is taken for tissue, to find what to show."""

_PLANES = (("axial", 2, (0, 1), "z"), ("coronal", 1, (0, 2), "y"), ("sagittal", 0, (1, 2), "x"))
_ENDS = {0: ("L", "R"), 1: ("P", "A")}


@dataclass(frozen=True)
class Mark:
    """A short text on the montage; `anchor` is start, middle or end, as in SVG."""

    x: float
    y: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Tile:
    """One slice: across which axis, where, and the rectangle that it fills, in pixels."""

    axis: int
    index: int
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Montage:
    """Where the slices of volumes on one grid go. Build it with `Montage.of`.

    Attributes
    ----------
    affine : ndarray (4, 4) float64
        Of the grid as the volumes have it.
    box : ndarray (3, 2) int
        First and one past the last voxel shown along each axis, after reorientation to R, A, S.
    tiles : tuple of Tile
        The slices.
    marks : tuple of Mark
        Positions in mm and letters for left, right, posterior and anterior.
    width, height : int
        Of the whole, in pixels.
    """

    affine: NDArray[np.float64]
    box: NDArray[np.intp]
    tiles: tuple[Tile, ...]
    marks: tuple[Mark, ...]
    width: int
    height: int

    @classmethod
    def of(
        cls,
        affine: NDArray[np.float64],
        shown: NDArray[np.bool_],
        sliced: NDArray[np.bool_] | None = None,
    ) -> Montage:
        """Lay out slices.

        Parameters
        ----------
        affine : ndarray (4, 4) float64
            Voxel to scanner mm (RAS+).
        shown : ndarray (x, y, z) bool
            What must lie within the slices; when nothing does, the whole grid is shown.
        sliced : ndarray (x, y, z) bool, optional
            What the slices should go through; by default, `shown`.
        """
        ras_affine = affine @ inv_ornt_aff(_turn(affine), shown.shape)
        box = _box(to_ras(shown, affine))
        through = _box(to_ras(shown if sliced is None or not sliced.any() else sliced, affine))
        spacing = np.asarray(nibabel.affines.voxel_sizes(ras_affine), dtype=float)
        size = (box[:, 1] - box[:, 0]) * spacing
        # A grid much higher than wide must not make the page so.
        scale = (WIDTH - (COLUMNS - 1) * GAP) / (COLUMNS * max(size[0], size[1], size[2] / 2))
        pixels = np.maximum(1, np.floor(size * scale)).astype(int)
        pitch = int(max(pixels[0], pixels[1])) + GAP
        tiles, marks, top = [], [], 0
        for name, axis, (across, up), letter in _PLANES:
            top += LABELS
            for column, index in enumerate(_evenly(*through[axis])):
                inset = (pitch - GAP - int(pixels[across])) // 2
                tile = Tile(axis, index, column * pitch + inset, top, int(pixels[across]), int(pixels[up]))
                tiles.append(tile)
                centre = ras_affine @ [*_centre(box, axis, index), 1]
                position = f"{letter} {round(centre[axis])}".replace("-", "−")
                text = position if column else f"{name} {position}"
                marks.append(Mark(tile.left + tile.width / 2, top - 5, text))
                if column == 0:
                    low, high = _ENDS[across]
                    bottom = top + tile.height - 4
                    marks.append(Mark(tile.left + 3, bottom, low, "start"))
                    marks.append(Mark(tile.left + tile.width - 3, bottom, high, "end"))
            top += int(pixels[up]) + GAP
        columns = max(tile.left + tile.width for tile in tiles)
        return cls(affine, box, tuple(tiles), tuple(marks), columns, top - GAP)

    def draw(
        self, volume: NDArray[Any], resample: Image.Resampling = Image.Resampling.NEAREST
    ) -> NDArray[np.float32]:
        """Sheet of slices (height, width) float32; 0 between them, NaN where the volume is NaN.

        Parameters
        ----------
        volume : ndarray (x, y, z)
            On the grid of the montage.
        resample : Resampling
            How voxels become pixels; only NEAREST keeps NaN where it is.
        """
        ras = to_ras(volume, self.affine)
        sheet = np.zeros((self.height, self.width), np.float32)
        for tile in self.tiles:
            rest = [slice(*self.box[axis]) for axis in range(3) if axis != tile.axis]
            # Rows of a picture go down, axes of the head go up.
            plane = np.take(ras, tile.index, axis=tile.axis)[tuple(rest)].T[::-1]
            picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
            resized = np.asarray(picture.resize((tile.width, tile.height), resample))
            sheet[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] = resized
        return sheet


def to_ras(volume: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Volume with its axes turned and flipped so that they go, as nearly as they can, to R, A and S."""
    turned: NDArray[Any] = apply_orientation(volume, _turn(affine))
    return turned


def tissue(volume: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Where a volume is bright: a rough head, to find what to show of it."""
    finite = np.nan_to_num(volume)
    positive = finite[finite > 0]
    if not positive.size:
        return np.zeros(volume.shape, bool)
    bright: NDArray[np.bool_] = finite > SOUGHT * np.percentile(positive, 98)
    return bright


def around(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The box around a mask (x, y, z) with `MARGIN` on every side, as far as the grid goes."""
    margin = np.ceil(MARGIN / nibabel.affines.voxel_sizes(affine)).astype(int)
    widened = np.zeros(mask.shape, bool)
    starts, ends = _box(mask).T
    widened[tuple(map(slice, np.maximum(0, starts - margin), ends + margin))] = True
    return widened


def _turn(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    turn: NDArray[np.float64] = ornt_transform(io_orientation(affine), axcodes2ornt("RAS"))
    return turn


def _box(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """First and one past the last plane along each axis that a mask fills noticeably."""
    bounds = []
    for axis, length in enumerate(mask.shape):
        counts = mask.sum(axis=tuple(other for other in range(3) if other != axis))
        # Single bright voxels of air do not widen the view.
        found = np.flatnonzero(counts > 0.02 * counts.max()) if counts.any() else np.array([0, length - 1])
        bounds.append((found[0], found[-1] + 1))
    return np.array(bounds, dtype=np.intp)


def _evenly(first: int, last: int) -> list[int]:
    """Up to `COLUMNS` different planes from `first` to before `last`, none at the very edge."""
    centres = first + (np.arange(COLUMNS) + 0.5) / COLUMNS * (last - first)
    return sorted({int(centre) for centre in centres})


def _centre(box: NDArray[np.intp], axis: int, index: int) -> list[float]:
    centre = [(low + high - 1) / 2 for low, high in box]
    centre[axis] = index
    return centre
