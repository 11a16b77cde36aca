"""ITK transform files: parity with nitransforms, figures from ANTs, planted fields, damaged files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

from bids_recon.errors import DataError, ExitCode, MissingInputError
from bids_recon.preprocess.itk_transforms import read_itk_affine, read_itk_composite, write_itk_affine

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def _pulls(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pulls = np.tile(np.eye(4), (count, 1, 1))
    pulls[:, :3, :3] = Rotation.from_euler("xyz", rng.uniform(-0.3, 0.3, (count, 3))).as_matrix()
    pulls[:, :3, :3] *= rng.uniform(0.9, 1.1, (count, 1, 3))
    pulls[:, :3, 3] = rng.uniform(-5, 5, (count, 3))
    return pulls


def _text(kind: str, parameters: str, fixed: str) -> str:
    return (
        f"#Insight Transform File V1.0\n#Transform 0\nTransform: {kind}\n"
        f"Parameters: {parameters}\nFixedParameters: {fixed}\n"
    )


@pytest.mark.parametrize("count", [1, 12])
def test_what_is_written_is_read_back_exactly(tmp_path: Path, count: int) -> None:
    pulls = _pulls(count)
    path = write_itk_affine(tmp_path / "x_xfm.txt", pulls)
    np.testing.assert_allclose(read_itk_affine(path), pulls, rtol=0, atol=1e-14)


def test_one_matrix_makes_one_block(tmp_path: Path) -> None:
    path = write_itk_affine(tmp_path / "x_xfm.txt", np.eye(4))
    assert path.read_text() == _text(
        "MatrixOffsetTransformBase_double_3_3", "1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0", "0 0 0"
    )


def test_x_and_y_change_sign_in_the_file(tmp_path: Path) -> None:
    pull = np.eye(4)
    pull[:3, 3] = [1, 2, 3]
    path = write_itk_affine(tmp_path / "x_xfm.txt", pull)
    assert "0.0 0.0 1.0 -1.0 -2.0 3.0" in path.read_text()


def test_nitransforms_reads_what_we_write(tmp_path: Path) -> None:
    from nitransforms.io.itk import ITKLinearTransform, ITKLinearTransformArray

    pulls = _pulls(5)
    series = write_itk_affine(tmp_path / "series_xfm.txt", pulls)
    # nitransforms keeps single precision.
    np.testing.assert_allclose(
        ITKLinearTransformArray.from_filename(series).to_ras(), pulls, rtol=0, atol=1e-6
    )
    single = write_itk_affine(tmp_path / "single_xfm.txt", pulls[2])
    np.testing.assert_allclose(ITKLinearTransform.from_filename(single).to_ras(), pulls[2], rtol=0, atol=1e-6)


def test_we_read_what_nitransforms_writes(tmp_path: Path) -> None:
    from nitransforms.io.itk import ITKLinearTransformArray

    path = tmp_path / "series_xfm.txt"
    ITKLinearTransformArray.from_ras(_pulls(5)).to_filename(path)
    np.testing.assert_allclose(
        read_itk_affine(path), ITKLinearTransformArray.from_filename(path).to_ras(), rtol=0, atol=1e-6
    )


def test_a_fixed_centre_is_honoured(tmp_path: Path) -> None:
    # A quarter turn about an axis along z through (LPS) x = 10, y = 0; then 2 mm along z.
    path = tmp_path / "x.txt"
    path.write_text(_text("AffineTransform_float_3_3", "0 -1 0 1 0 0 0 0 1 0 0 2", "10 0 0"))
    pull = read_itk_affine(path)[0]
    # The centre itself, (-10, 0, 0) in RAS, only moves along z.
    np.testing.assert_allclose(apply_affine(pull, [-10, 0, 0]), [-10, 0, 2], atol=1e-12)
    np.testing.assert_allclose(apply_affine(pull, [-20, 0, 0]), [-10, -10, 2], atol=1e-12)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("0", [[-9.56527615, 15.83987236, -10.87282562], [-48.67787933, 41.4012413, 39.03530502]]),
        ("1", [[-14.26280117, 15.48173904, -10.3124733], [-54.53248978, 34.69672394, 41.48653412]]),
    ],
)
def test_euler_angles_are_those_of_ants(tmp_path: Path, flag: str, expected: list[list[float]]) -> None:
    """Points as antspyx 0.6.3 (`apply_ants_transform_to_point`, single precision) maps them."""
    path = tmp_path / "x.txt"
    path.write_text(_text("Euler3DTransform_double_3_3", "0.3 -0.5 0.7 1 2 3", f"10 20 -30 {flag}"))
    points = np.array([[1.0, 2, 3], [-40, 30, 50]])
    np.testing.assert_allclose(apply_affine(read_itk_affine(path)[0], points), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with"),
        ("#Insight Transform File V1.0\n", "holds no transform"),
        (_text("AffineTransform_double_3_3", "1 0 0 0 1 0 0 0 1 0 0", "0 0 0"), "with 11 parameters"),
        (_text("AffineTransform_double_3_3", "1 0 0 0 1 0 0 0 one 0 0 0", "0 0 0"), "damaged at transform 0"),
        (_text("AffineTransform_double_3_3", "1 0 0 0 nan 0 0 0 1 0 0 0", "0 0 0"), "numbers are damaged"),
        (_text("AffineTransform_double_3_3", "1 0 0 0 1 0 0 0 1 0 0 0", "0"), "numbers are damaged"),
        (_text("BSplineTransform_double_3_3", "1 2", "0 0 0"), "BSplineTransform_double_3_3"),
        ("#Insight Transform File V1.0\n#Transform 0\nTransform: Affine", "cut short or damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x_xfm.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_itk_affine(path)
    assert caught.value.exit_code == ExitCode.DATA_ERROR
    assert caught.value.file == path


def test_absent_and_unfetched_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="there is no such file"):
        read_itk_affine(tmp_path / "x_xfm.txt")
    pointer = tmp_path / "y_xfm.h5"
    pointer.symlink_to("../.git/annex/objects/aa/bb/key/key")
    with pytest.raises(MissingInputError, match="datalad get"):
        read_itk_composite(pointer)


@pytest.mark.parametrize(
    "pull", [np.eye(3), np.full((4, 4), np.nan), np.ones((2, 4, 4)), np.empty((0, 4, 4))]
)
def test_what_is_no_affine_is_not_written(tmp_path: Path, pull: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pull"):
        write_itk_affine(tmp_path / "x.txt", pull)
    assert list(tmp_path.iterdir()) == []


def _grid() -> tuple[tuple[int, int, int], np.ndarray]:
    """An oblique grid with unequal voxels, RAS+."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [0.2, -0.1, 0.3]).as_matrix() * [2.0, 3.0, 4.0]
    affine[:3, 3] = [-12, -15, -8]
    return (12, 10, 7), affine


def _displacement(points: np.ndarray) -> np.ndarray:
    """A field that is linear in space, so that interpolation between voxels is exact."""
    gradient = np.array([[0.02, 0.01, -0.03], [0.0, -0.02, 0.01], [0.03, 0.01, 0.02]])
    return points @ gradient.T + [0.5, -1.0, 1.5]


def _write_composite(
    path: Path, order: str, pull: np.ndarray, *, word: str = "Transform", kind: str = "double"
) -> None:
    shape, affine = _grid()
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    field = _displacement(apply_affine(affine, voxels)) * [-1, -1, 1]
    itk_grid, itk = FLIP @ affine, FLIP @ pull @ FLIP
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = itk_grid[:3, :3] / spacing
    with h5py.File(path, "w") as file:
        groups = file.create_group("TransformGroup")
        groups.create_group("0")["TransformType"] = [b"CompositeTransform_double_3_3"]
        for number, step in enumerate(order, start=1):
            group = groups.create_group(str(number))
            if step == "a":
                group["TransformType"] = [f"AffineTransform_{kind}_3_3".encode()]
                group[f"{word}Parameters"] = [*itk[:3, :3].ravel(), *itk[:3, 3]]
                group[f"{word}FixedParameters"] = [0.0, 0.0, 0.0]
            else:
                group["TransformType"] = [f"DisplacementFieldTransform_{kind}_3_3".encode()]
                # Vectors are fastest, then x, y, z.
                group[f"{word}Parameters"] = field.transpose(2, 1, 0, 3).ravel()
                group[f"{word}FixedParameters"] = [*shape, *itk_grid[:3, 3], *spacing, *directions.ravel()]


@pytest.mark.parametrize(("order", "word"), [("af", "Transform"), ("fa", "Transform"), ("af", "Tranform")])
def test_the_last_transform_of_a_composite_comes_first(tmp_path: Path, order: str, word: str) -> None:
    path, pull = tmp_path / "x_xfm.h5", _pulls(1, seed=3)[0]
    _write_composite(path, order, pull, word=word)
    shape, affine = _grid()
    # Far enough from the border that the affine does not push them out.
    inside = np.random.default_rng(1).uniform(2, np.array(shape) - 3, (50, 3))
    points = apply_affine(affine, inside)
    if order == "af":
        expected = apply_affine(pull, points + _displacement(points))
    else:
        points = apply_affine(np.linalg.inv(pull), points)
        linear = apply_affine(pull, points)
        expected = linear + _displacement(linear)
    np.testing.assert_allclose(read_itk_composite(path).map_points(points), expected, rtol=0, atol=1e-5)


def test_points_outside_the_field_stay_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x_xfm.h5"
    _write_composite(path, "f", np.eye(4))
    shape, affine = _grid()
    outside = apply_affine(affine, [[-0.6, 4, 3], [5, 4, shape[2] - 0.4], [500, 0, 0]])
    mapped = read_itk_composite(path)
    np.testing.assert_array_equal(mapped.map_points(outside), outside)
    edge = apply_affine(affine, [-0.4, 4.0, 3.0])
    border = apply_affine(affine, [0.0, 4.0, 3.0])
    np.testing.assert_allclose(mapped.map_points(edge), edge + _displacement(border), atol=1e-6)


def test_the_linear_part_agrees_with_nitransforms(tmp_path: Path) -> None:
    from nitransforms.io.itk import ITKLinearTransform

    path, pull = tmp_path / "x_xfm.h5", _pulls(1, seed=4)[0]
    _write_composite(path, "a", pull)
    points = np.random.default_rng(2).normal(0, 40, (20, 3))
    expected = apply_affine(ITKLinearTransform.from_filename(path).to_ras(), points)
    np.testing.assert_allclose(read_itk_composite(path).map_points(points), expected, rtol=0, atol=1e-6)


def test_damaged_composites_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x_xfm.h5"
    path.write_bytes(b"not HDF5 at all" * 100)
    with pytest.raises(DataError, match="no HDF5 file"):
        read_itk_composite(path)
    with h5py.File(path, "w") as file:
        file["volume"] = [1.0]
    with pytest.raises(DataError, match="holds no ITK transform"):
        read_itk_composite(path)
    with h5py.File(path, "w") as file:
        group = file.create_group("TransformGroup/0")
        group["TransformType"] = [b"DisplacementFieldTransform_float_3_3"]
        group["TransformParameters"], group["TransformFixedParameters"] = np.zeros(30), np.ones(18)
    with pytest.raises(DataError, match="displacement field is damaged"):
        read_itk_composite(path)
