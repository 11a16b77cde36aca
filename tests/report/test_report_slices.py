"""Slices of volumes: what lies where in the picture, and in which colour."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from bids_recon.report import MapFigure, Overlay
from bids_recon.report.maps import EDGE_COLOUR, draw_map, draw_overlay
from bids_recon.report.montage import LABELS, WIDTH, Montage
from bids_recon.report.palettes import COLOURS, GREYS, OUTLINES, outline_colours, scale_colours

SHAPE = (40, 40, 24)
LAS = np.array([[-3.0, 0, 0, 60], [0, 3, 0, -60], [0, 0, 3, -30], [0, 0, 0, 1]])
# First axis to the front, second down, third to the left: as a sagittal acquisition.
SAGITTAL = np.array([[0, 0, -3.0, 36], [3, 0, 0, -60], [0, -3, 0, 63], [0, 0, 0, 1]])


def places(affine) -> np.ndarray:
    """Centre of every voxel, (x, y, z, 3) mm."""
    return np.stack(np.indices(SHAPE), axis=-1) @ affine[:3, :3].T + affine[:3, 3]


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def rgb(colour: str) -> list[int]:
    return list(bytes.fromhex(colour[1:]))


def tiles_with(montage: Montage, found: np.ndarray, axis: int):
    """Tiles across an axis in which any of the pixels lie, with their mean row and column within the tile."""
    for tile in montage.tiles:
        inside = found[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        if tile.axis == axis and inside.any():
            yield tile, np.argwhere(inside).mean(axis=0) + 0.5


@pytest.mark.parametrize("affine", [LAS, SAGITTAL], ids=["axial, to the left", "sagittal"])
@pytest.mark.parametrize("centre", [(21, 15, 15), (-24, 15, 15), (21, -18, 15), (21, 15, -6)])
def test_a_region_is_outlined_where_it_is(ball, affine, centre):
    whole = np.ones(SHAPE, bool)
    figure = MapFigure("m", np.full(SHAPE, 100.0), affine, outlines={"a": ball(centre, 12, affine)})
    montage = Montage.of(affine, whole, ball(centre, 12, affine))
    found = (pixels(draw_map(figure).uri) == rgb(outline_colours(1)[0])).all(axis=2)
    low = places(affine).reshape(-1, 3).min(axis=0) - 1.5
    high = places(affine).reshape(-1, 3).max(axis=0) + 1.5
    for axis, across, up in ((2, 0, 1), (1, 0, 2), (0, 1, 2)):
        shown = list(tiles_with(montage, found, axis))
        assert len(shown) >= 4
        for tile, (row, column) in shown:
            # Right, front and top are where a reader looks for them.
            expected = (
                (high[up] - centre[up]) / (high[up] - low[up]) * tile.height,
                (centre[across] - low[across]) / (high[across] - low[across]) * tile.width,
            )
            assert (row, column) == pytest.approx(expected, abs=2)


def test_slices_go_through_the_regions_and_say_where_they_are(ball):
    centre = (21, 15, 15)
    montage = Montage.of(LAS, np.ones(SHAPE, bool), ball(centre, 12))
    told: dict[str, list[int]] = {"x": [], "y": [], "z": []}
    for mark in montage.marks:
        letter, _, position = mark.text.rpartition(" ")
        if letter:
            told[letter[-1]].append(int(position.replace("−", "-")))
    assert {letter: len(values) for letter, values in told.items()} == {"x": 7, "y": 7, "z": 7}
    for values, middle in zip(told.values(), centre, strict=True):
        assert values == sorted(values)
        assert all(abs(value - middle) < 12 for value in values)
    # The position told is that of the slice shown: only voxels with this z are in the first tile.
    z = np.broadcast_to(places(LAS)[..., 2], SHAPE)
    first = montage.tiles[0]
    shown = montage.draw(z.astype(np.float32))[first.top : first.top + 5, first.left : first.left + 5]
    assert (first.axis, set(shown.ravel())) == (2, {told["z"][0]})
    assert [mark.text for mark in montage.marks if mark.text in "LRPA"] == ["L", "R", "L", "R", "P", "A"]


def test_voxels_that_are_no_cubes_keep_the_shape_of_the_head():
    affine = np.diag([2.0, 2.0, 6.0, 1.0])
    cube = np.zeros((60, 60, 20), bool)
    cube[15:45, 15:45, 5:15] = True
    montage = Montage.of(affine, np.ones(cube.shape, bool), cube)
    drawn = montage.draw(cube.astype(np.float32)) > 0
    for tile in montage.tiles:
        rows, columns = np.nonzero(
            drawn[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        )
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
    assert montage.width <= WIDTH and len(montage.tiles) == 21


def test_values_have_the_colours_of_their_scale_and_missing_ones_none(ball):
    left = places(LAS)[..., 0] < 0
    values = np.where(left, np.nan, 30.0)
    values[ball((30, 0, 0), 9)] = 250
    figure = MapFigure("m", np.full(SHAPE, 100.0), LAS, values=values, unit="%", limits=(0, 120))
    drawn = draw_map(figure)
    picture, montage = pixels(drawn.uri), Montage.of(LAS, np.ones(SHAPE, bool), np.isfinite(values))
    colours = scale_colours("sequential")
    of_value = (picture == colours[round(0.25 * (COLOURS - 1))]).all(axis=2)
    beyond = (picture == colours[-1]).all(axis=2)
    grey = (picture == picture[..., :1]).all(axis=2)
    for tile in montage.tiles[:7]:
        inside = slice(tile.top, tile.top + tile.height)
        middle = tile.left + tile.width // 2
        # The pixels of the middle voxel belong to either side.
        assert grey[inside, tile.left : middle - 5].all()
        right = (of_value | beyond)[inside, middle + 5 : tile.left + tile.width]
        assert right.all()
    assert beyond.any()
    assert not (of_value | beyond)[: LABELS - 1].any()
    assert drawn.bar is not None
    assert (drawn.bar.low, drawn.bar.high, drawn.bar.unit) == ("0", "≥ 120", "%")
    assert (pixels(drawn.bar.uri)[0] == colours).all()


def test_limits_come_from_the_values_where_none_are_given():
    values = np.linspace(-10, 30, np.prod(SHAPE)).reshape(SHAPE)
    figure = MapFigure("m", np.ones(SHAPE), LAS, values=values)
    bar = draw_map(figure).bar
    assert bar is not None and (bar.low, bar.high) == ("≤ −9.20", "≥ 29.2")
    signed = draw_map(dataclasses.replace(figure, palette="diverging")).bar
    assert signed is not None and (signed.low, signed.high) == ("−29.2", "≥ 29.2")
    nothing = draw_map(dataclasses.replace(figure, values=np.full(SHAPE, np.nan)))
    assert nothing.bar is None
    constant = draw_map(dataclasses.replace(figure, values=np.full(SHAPE, 3.0))).bar
    assert constant is not None and constant.low == "3"


def test_the_edges_are_those_of_the_moving_volume(ball):
    centre, radius = np.array([9, -6, 6]), 30
    fixed, moving = (np.where(ball(c, radius), 500.0, 0.0) for c in ((0, 0, 6), centre))
    drawn = draw_overlay(Overlay("o", fixed, moving, LAS))
    edges = (pixels(drawn.edges) == rgb(EDGE_COLOUR)).all(axis=2)
    before, after = pixels(drawn.fixed), pixels(drawn.edges)
    assert (before[~edges] == after[~edges]).all()
    assert not (pixels(drawn.moving) == before).all()
    # Distance from the centre of the moving ball, as drawn, at every pixel.
    both = ball((0, 0, 6), radius) & ball(centre, radius)
    whole = np.ones(SHAPE, bool)
    grid = Montage.of(LAS, _grown(both), both)
    assert (grid.width, grid.height) == (drawn.width, drawn.height)
    distance = grid.draw(
        np.linalg.norm(places(LAS) - centre, axis=-1).astype(np.float32), Image.Resampling.BICUBIC
    )
    inside = grid.draw(whole.astype(np.float32)) > 0
    assert edges[inside].sum() > 500 and not edges[~inside].any()
    assert np.median(np.abs(distance[edges] - radius)) < 2
    assert np.percentile(np.abs(distance[edges] - radius), 95) < 5


def _grown(mask: np.ndarray) -> np.ndarray:
    """The box 5 voxels (15 mm) around a mask, written out."""
    box = np.zeros(mask.shape, bool)
    spans = [slice(max(0, indices.min() - 5), indices.max() + 6) for indices in np.nonzero(mask)]
    box[tuple(spans)] = True
    return box


def test_volumes_without_anything_to_see_are_drawn():
    empty = np.zeros(SHAPE)
    drawn = draw_overlay(Overlay("o", empty, np.full(SHAPE, np.nan), LAS))
    assert not pixels(drawn.fixed).any() and not pixels(drawn.edges).any()
    assert not pixels(draw_map(MapFigure("m", empty, LAS, outlines={"a": empty > 0})).uri).any()
    single = draw_map(MapFigure("m", np.ones((1, 1, 1)), LAS))
    assert max(single.width, single.height) <= WIDTH


def test_volumes_of_different_grids_are_refused():
    with pytest.raises(ValueError, match="tsnr are not on one grid"):
        draw_map(MapFigure("tsnr", np.ones(SHAPE), LAS, values=np.ones((4, 4, 4))))
    with pytest.raises(ValueError, match="t1 are not on one grid"):
        draw_overlay(Overlay("t1", np.ones(SHAPE), np.ones((4, 4, 4)), LAS))


def test_outlines_have_different_colours_and_one_byte_holds_all():
    assert GREYS + COLOURS + OUTLINES == 256
    for n in (1, 8, 9, OUTLINES):
        colours = outline_colours(n)
        assert len({tuple(rgb(colour)) for colour in colours}) == n
    assert outline_colours(OUTLINES + 3)[OUTLINES:] == outline_colours(OUTLINES)[:3]
