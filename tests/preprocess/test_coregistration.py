"""Registration of BOLD to the T1w: planted movements found, in every direction and with every header."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nilearn.datasets import load_mni152_template
from scipy.ndimage import gaussian_filter, map_coordinates

from bids_recon.errors import DataError, UsageError
from bids_recon.preprocess import registration_ants
from bids_recon.preprocess.coarsening import coarsened, voxel_sizes
from bids_recon.preprocess.coregistration import choose_backend, register_by_way_of, register_rigid
from bids_recon.preprocess.mutual_information import mutual_information
from bids_recon.preprocess.rigid import matrices, mean_displacement
from bids_recon.rois.grids import Volume
from bids_recon.simulate.head import Head, grid_affine, grid_points

OBLIQUE = matrices([0, 0, 0, 0.25, -0.1, 0.05], [0, 0, 0])


@pytest.fixture(scope="module")
def brain() -> Volume:
    image = load_mni152_template(2)
    return Volume(np.asarray(image.dataobj, dtype=np.float32), image.affine)


def brain_points(brain: Volume) -> np.ndarray:
    return np.argwhere(brain.data > 0.3)[::499] @ brain.affine[:3, :3].T + brain.affine[:3, 3]


def epi_of(brain: Volume, size: float, pull: np.ndarray, header: np.ndarray, seed: int = 0) -> Volume:
    """Grey and white matter inverted, noisy, of `size` mm; `pull` leads from the brain to its points."""
    inverted = gaussian_filter(np.where(brain.data > 0.05, 1.2 - brain.data, 0), 0.4 * size / 2)
    shape = tuple(int(extent / size) for extent in (190, 220, 140))
    affine = header @ grid_affine(shape, size)
    points = grid_points(shape, affine).reshape(-1, 3)
    matrix = np.linalg.inv(brain.affine) @ np.linalg.inv(pull)
    values = map_coordinates(inverted, matrix[:3, :3] @ points.T + matrix[:3, 3:], order=1)
    noise = np.random.default_rng(seed).normal(0, 0.03, values.shape)
    return Volume((values + noise).reshape(shape).astype(np.float32), affine)


def local_maximum(fixed: Volume, moving: Volume, pull: np.ndarray, mask: np.ndarray | None = None) -> bool:
    centre = fixed.affine[:3, :3] @ (np.array(fixed.shape) / 2) + fixed.affine[:3, 3]
    best = mutual_information(fixed, moving, pull, mask=mask)
    moves = np.diag([2, 2, 2, *np.radians([2, 2, 2])])
    return all(
        mutual_information(fixed, moving, pull @ matrices(sign * move, centre), mask=mask) < best
        for move in moves
        for sign in (-1, 1)
    )


@pytest.mark.parametrize(
    "movement", [(3.0, -5.0, 2.0, 0.03, -0.05, 0.02), (9.0, 12.0, -13.0, 0.2, 0.1, 0.12)]
)
def test_inverted_contrast_is_aligned(brain: Volume, movement: tuple[float, ...]) -> None:
    true = matrices(movement, [0, -18, 10])
    epi = epi_of(brain, 5.0, true, OBLIQUE)
    found = register_rigid(epi, coarsened(brain, 4.0), backend="dipy")
    assert mean_displacement(found.pull, true, brain_points(brain)) < 0.5
    assert found.backend == "dipy"
    assert found.metric == pytest.approx(mutual_information(epi, brain, np.linalg.inv(true)), rel=0.25)
    assert local_maximum(epi, brain, np.linalg.inv(found.pull))


def test_the_volumes_may_change_places(brain: Volume) -> None:
    true = matrices((4.0, -6.0, 5.0, 0.05, -0.08, 0.1), [0, -18, 10])
    epi = epi_of(brain, 5.0, true, OBLIQUE)
    found = register_rigid(coarsened(brain, 4.0), epi, backend="dipy")
    assert mean_displacement(found.pull, np.linalg.inv(true), brain_points(brain)) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("size", [3.0, 2.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_capture_range_and_accuracy(brain: Volume, size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shift, turn = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    true = matrices([*(20 * shift), *(np.radians(15) * turn)], [0, -18, 10])
    # The field of view moves with the head, as it does when a technician places it.
    epi = epi_of(brain, size, true, true @ OBLIQUE, seed)
    found = register_rigid(epi, brain, backend="dipy")
    assert mean_displacement(found.pull, true, brain_points(brain)) < 0.5


def test_the_same_seed_gives_the_same_pull(brain: Volume) -> None:
    epi = epi_of(brain, 8.0, matrices((4.0, -6.0, 5.0, 0.05, -0.08, 0.1), [0, 0, 0]), OBLIQUE)
    small = coarsened(brain, 8.0)
    first, second, other = (register_rigid(epi, small, backend="dipy", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.pull, second.pull)
    assert (first.pull != other.pull).any()
    assert mean_displacement(first.pull, other.pull, brain_points(brain)) < 1.0


def test_a_lost_header_is_replaced_by_the_centres_of_mass(
    brain: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    true = matrices((150.0, -90.0, 120.0, 0.1, -0.05, 0.1), [0, -18, 10])
    epi = epi_of(brain, 5.0, true, true @ OBLIQUE)
    with caplog.at_level(logging.INFO):
        found = register_rigid(epi, coarsened(brain, 4.0), backend="dipy")
    assert mean_displacement(found.pull, true, brain_points(brain)) < 0.5
    assert "headers do not align" in caplog.text


def test_a_given_start_is_used(brain: Volume) -> None:
    # A slab of the back of the head, far from where its header says: its centre of mass misleads.
    away = matrices((0, 70.0, 0, 0, 0, 0), [0, 0, 0])
    true = away @ matrices((2.0, 1.0, -3.0, 0.03, -0.02, 0.04), [0, -60, 10])
    whole = epi_of(brain, 5.0, true, true @ OBLIQUE)
    slab = Volume(whole.data[:, :18], whole.affine)
    found = register_rigid(slab, coarsened(brain, 4.0), backend="dipy", start=away)
    points = brain_points(brain)
    assert mean_displacement(found.pull, true, points[points[:, 1] < -40]) < 0.8


def test_points_are_taken_within_the_mask(brain: Volume) -> None:
    true = matrices((3.0, -2.0, 4.0, 0.05, -0.03, 0.04), [0, -18, 10])
    epi = epi_of(brain, 5.0, true, OBLIQUE)
    mask = epi.data > 0.15
    spoilt = epi.data.copy()
    # A bright object beside the head that the T1w does not show.
    spoilt[:5] = np.random.default_rng(1).normal(3, 1, spoilt[:5].shape)
    found = register_rigid(
        Volume(spoilt, epi.affine), coarsened(brain, 4.0), moving_mask=_without(mask, 5), backend="dipy"
    )
    assert mean_displacement(found.pull, true, brain_points(brain)) < 0.5


def _without(mask: np.ndarray, slices: int) -> np.ndarray:
    mask = mask.copy()
    mask[: slices + 3] = False
    return mask


def test_simulated_heads_of_the_test_data_sets() -> None:
    rng = np.random.default_rng(3)
    head = Head.fitted((132, 165, 110), rng)
    grid, fine = grid_affine((24, 30, 20), 5.5), grid_affine((48, 60, 40), 2.75)
    t1w = head.intensity(grid_points((48, 60, 40), fine), "T1w")
    true = matrices((4.0, -6.0, 3.0, 0.06, -0.04, 0.08), [0, 0, 0])
    bold = head.intensity(grid_points((24, 30, 20), grid), "EPI") + rng.normal(0, 0.02, (24, 30, 20))
    found = register_rigid(Volume(bold, true @ grid), Volume(t1w, fine), backend="dipy")
    points = grid_points((7, 7, 7), grid_affine((7, 7, 7), 12.0)).reshape(-1, 3)
    assert mean_displacement(found.pull, true, points) < 0.7


def test_an_inplane_t2w_is_a_stepping_stone(brain: Volume) -> None:
    session = matrices((6.0, 9.0, -8.0, 0.1, 0.05, -0.07), [0, -18, 10])
    nod = matrices((1.0, 0.5, -1.5, 0.01, 0.02, 0.0), [0, -18, 10])
    boldref = epi_of(brain, 6.0, nod @ session, OBLIQUE)
    inplane = epi_of(brain, 5.0, session, OBLIQUE, seed=1)
    found = register_by_way_of(boldref, inplane, coarsened(brain, 4.0), backend="dipy")
    assert mean_displacement(found.pull, nod @ session, brain_points(brain)) < 0.7
    assert found.metric > 0
    assert found.backend == "dipy"


def test_what_cannot_be_aligned_is_refused(brain: Volume) -> None:
    small = coarsened(brain, 8.0)
    with pytest.raises(DataError, match="moving volume of a registration holds one value only"):
        register_rigid(Volume(np.ones((8, 8, 8)), np.eye(4)), small)
    with pytest.raises(ValueError, match="moving volume has the shape"):
        register_rigid(Volume(np.ones((8, 8, 8, 2)), np.eye(4)), small)
    with pytest.raises(ValueError, match="mask of the fixed volume"):
        register_rigid(small, small, fixed_mask=np.ones((2, 2, 2), dtype=bool))


def test_backends_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="'flirt' is not known"):
        choose_backend("flirt")
    monkeypatch.setattr(registration_ants, "available", lambda: False)
    assert choose_backend("auto")[0] == "dipy"
    with pytest.raises(UsageError, match="ants is not installed"):
        choose_backend("ants")
    monkeypatch.setattr(registration_ants, "available", lambda: True)
    assert choose_backend("auto")[0] == "ants"


@pytest.mark.slow
def test_ants_finds_the_same(brain: Volume) -> None:
    pytest.importorskip("ants")
    true = matrices((9.0, 12.0, -13.0, 0.2, 0.1, 0.12), [0, -18, 10])
    epi = epi_of(brain, 3.0, true, OBLIQUE)
    found = register_rigid(epi, brain, backend="ants")
    assert mean_displacement(found.pull, true, brain_points(brain)) < 0.5
    # The backend itself, without the search around it: directions and signs of ITK.
    start = true @ matrices((1.5, -1.0, 1.0, 0.02, 0.01, -0.02), [0, -18, 10])
    alone = registration_ants.linear(coarsened(brain, 4.0), coarsened(epi, 4.0), start)
    assert mean_displacement(alone, true, brain_points(brain)) < 0.7
    np.testing.assert_array_equal(
        alone, registration_ants.linear(coarsened(brain, 4.0), coarsened(epi, 4.0), start)
    )


def test_coarsening_keeps_the_place() -> None:
    x = np.arange(24.0)
    ramp = np.broadcast_to(x[:, None, None] * 2, (24, 9, 8)).astype(np.float32)
    affine = OBLIQUE @ np.diag([1.0, 3.0, 1.5, 1.0])
    coarse = coarsened(Volume(ramp, affine), 3.0)
    assert coarse.shape == (8, 9, 4)
    np.testing.assert_allclose(voxel_sizes(coarse.affine), 3.0)
    # The mean of a block is the value at its middle.
    middles = np.linalg.inv(affine) @ coarse.affine @ [5, 4, 2, 1]
    assert coarse.data[5, 4, 2] == pytest.approx(2 * middles[0])


@pytest.mark.shared
@pytest.mark.slow
def test_studyforrest_is_at_a_local_maximum(shared: Path) -> None:
    folder = shared / "data" / "studyforrest" / "sub-02"
    run = nibabel.load(folder / "func" / "sub-02_task-objectcategories_run-1_bold.nii.gz")
    t1w = nibabel.load(folder / "anat" / "sub-02_T1w.nii.gz")
    bold = Volume(np.asarray(run.dataobj[..., :60], dtype=np.float32).mean(-1), run.affine)
    head = Volume(np.asarray(t1w.dataobj, dtype=np.float32), t1w.affine)
    found = register_rigid(bold, head, backend="dipy")
    fine = coarsened(head, 2.0)
    assert local_maximum(bold, fine, np.linalg.inv(found.pull))
    assert local_maximum(fine, bold, found.pull)
    # The two sessions' headers are 15 mm apart at the centre; ventricles and cortex were checked by eye.
    before = mutual_information(bold, fine, np.eye(4))
    assert mutual_information(bold, fine, np.linalg.inv(found.pull)) > 1.3 * before
