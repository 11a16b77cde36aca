"""Areas lie together, see the opposite side, and answer to what is in their receptive field."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from bids_recon.simulate.brain import Brain
from bids_recon.simulate.cortex import lay_out_cortex
from bids_recon.simulate.design import DEMO, SimulationDesign
from bids_recon.simulate.head import CORTEX_RADIUS, Head, grid_affine, grid_points

AFFINE = grid_affine(DEMO.grid, DEMO.voxel_size)
RESPONSE, MODULATION = 1.5, 0.9


@pytest.fixture(scope="module")
def head():
    extent = tuple(DEMO.voxel_size * n for n in DEMO.grid)
    return Head.fitted(extent, np.random.default_rng(0))


@pytest.fixture(scope="module")
def cortex(head):
    return lay_out_cortex(head, DEMO.grid, AFFINE, DEMO.roi_voxels, np.random.default_rng(1))


@pytest.fixture(scope="module")
def brain(cortex):
    return Brain(cortex, RESPONSE, MODULATION, np.random.default_rng(2))


def positions(cortex):
    return grid_points(DEMO.grid, AFFINE).reshape(-1, 3)[cortex.voxels.indices]


def grey_with_dot(right, up, colour=(255, 255, 255), size=64, radius=0.12):
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    picture = np.full((size, size, 3), 128, np.uint8)
    picture[np.hypot(axis[None, :] - right, axis[:, None] + up) < radius] = colour
    return picture


def strength(brain, picture):
    grey = np.full((1, 64, 64, 3), 128, np.uint8)
    return np.abs(brain.responses(picture[None])[0] - brain.responses(grey)[0])


def test_areas_have_their_voxels_and_do_not_overlap(cortex):
    assert {name: int(member.sum()) for name, member in cortex.voxels.rois.items()} == dict(DEMO.roi_voxels)
    assert np.sum(list(cortex.voxels.rois.values()), axis=0).max() == 1
    assert (np.diff(cortex.voxels.indices) > 0).all()


def test_areas_lie_in_the_back_of_the_brain(cortex, head):
    points = positions(cortex)
    assert head.radius(points).max() < CORTEX_RADIUS
    assert points[:, 1].max() < 0


def test_each_hemisphere_of_an_area_is_one_patch(cortex):
    x = np.arange(DEMO.grid[0])[:, None, None] < DEMO.grid[0] / 2
    for name in cortex.voxels.rois:
        for half in (x, ~x):
            patch = cortex.voxels.mask(name) & half
            _, n_patches = label(patch, np.ones((3, 3, 3)))
            assert patch.any() and n_patches == 1, name


def test_hemispheres_see_the_opposite_side(cortex):
    left_hemisphere = positions(cortex)[:, 0] < 0
    # The jitter takes a few centres over the midline.
    assert (cortex.centres[left_hemisphere, 0] > -0.15).all()
    assert (cortex.centres[~left_hemisphere, 0] < 0.15).all()


def test_maps_turn_with_height_and_grow_outwards(cortex):
    points, v1 = positions(cortex), cortex.voxels.rois["V1"]
    eccentricity = np.linalg.norm(cortex.centres, axis=1)
    assert np.corrcoef(points[v1, 2], cortex.centres[v1, 1])[0, 1] < -0.5
    assert np.corrcoef(points[v1, 1], eccentricity[v1])[0, 1] > 0.5


def test_neighbours_see_nearly_the_same_place(cortex):
    points = positions(cortex)
    same_area = cortex.area[:, None] == cortex.area[None, :]
    same_side = (points[:, None, 0] < 0) == (points[None, :, 0] < 0)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    seen_apart = np.linalg.norm(cortex.centres[:, None] - cortex.centres[None], axis=-1)
    pair = same_area & same_side & (apart > 0)
    near = pair & (apart < 1.1 * DEMO.voxel_size)
    assert seen_apart[near].mean() < 0.5 * seen_apart[pair].mean()


def test_receptive_fields_grow_along_the_hierarchy_and_outwards(brain, cortex):
    means = [brain.sizes[cortex.voxels.rois[name]].mean() for name, _ in DEMO.roi_voxels]
    assert (np.diff(means) > 0).all() and means[-1] > 4 * means[0]
    v1 = cortex.voxels.rois["V1"]
    assert np.corrcoef(np.linalg.norm(cortex.centres[v1], axis=1), brain.sizes[v1])[0, 1] > 0.7


@pytest.mark.parametrize(("right", "up"), [(-0.5, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, -0.4)])
def test_a_dot_excites_the_voxels_that_see_it(brain, cortex, right, up):
    v1 = cortex.voxels.rois["V1"]
    answer = strength(brain, grey_with_dot(right, up))
    best = np.flatnonzero(v1)[np.argsort(answer[v1])[-10:]]
    distance = np.linalg.norm(cortex.centres[best] - [right, up], axis=1)
    # Half a dot and two standard deviations of a receptive field.
    assert np.median(distance) < 0.3
    unseen = v1 & (np.linalg.norm(cortex.centres - [right, up], axis=1) > 0.9)
    assert answer[unseen].max() < 0.2 * answer[best].min()


def test_a_dot_on_the_left_excites_the_right_hemisphere(brain, cortex):
    answer = strength(brain, grey_with_dot(-0.5, 0.0))
    v1, right = cortex.voxels.rois["V1"], positions(cortex)[:, 0] > 0
    assert answer[v1 & right].mean() > 10 * answer[v1 & ~right].mean()


def test_voxels_tell_colours_of_one_luminance_apart(brain, cortex):
    # Luminance is 128 in both, up to rounding: 0.3 * 20 = 0.59 * 10. What one adds the other takes away.
    reddish, greenish, grey = (
        brain.responses(grey_with_dot(0, 0, colour, radius=2)[None])[0]
        for colour in ((148, 118, 128), (108, 138, 128), (128, 128, 128))
    )
    v4 = cortex.voxels.rois["V4"]
    assert np.abs(reddish - greenish)[v4].mean() > 0.1
    assert np.corrcoef((reddish - grey)[v4], (greenish - grey)[v4])[0, 1] < -0.8


def test_responses_spread_as_asked_on_photographs(brain):
    from bids_recon.simulate.pictures import make_pictures

    photos = np.stack([picture.pixels for picture in make_pictures(DEMO, 0)[:60]])
    responses = brain.responses(photos)
    assert 0.6 * MODULATION < responses.std(axis=0).mean() < 1.8 * MODULATION
    assert 0.5 * RESPONSE < responses.mean() < 1.3 * RESPONSE


def test_a_response_does_not_depend_on_the_other_pictures(brain):
    dots = np.stack([grey_with_dot(x, 0.0) for x in (-0.5, 0.0, 0.5)])
    np.testing.assert_allclose(brain.responses(dots)[1], brain.responses(dots[1:2])[0], rtol=1e-12)


def test_people_differ(head, cortex):
    other = lay_out_cortex(head, DEMO.grid, AFFINE, DEMO.roi_voxels, np.random.default_rng(9))
    shift = np.linalg.norm(other.centres - cortex.centres, axis=1)
    assert 0.01 < np.median(shift) < 0.4


def test_too_small_a_brain_is_refused(head):
    with pytest.raises(ValueError, match="do not fit into the back of a brain"):
        lay_out_cortex(head, DEMO.grid, AFFINE, [("V1", 5000)], np.random.default_rng(0))


def test_unknown_area_is_refused():
    with pytest.raises(ValueError, match="FFA: not among the areas V1"):
        SimulationDesign(roi_voxels=(("FFA", 10),))
