"""Spatial transforms in the files of ITK, as ANTs and fMRIPrep write them.

An ITK transform maps points of the reference (the `to-` of its file name) to points of the moving image (the
`from-`): it is the "pull" of this package, but for the sign of x and y, as ITK counts from right to left and
from front to back (LPS) where NIfTI counts the other way (RAS).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from bids_recon.dataset.annex import is_fetched, not_fetched
from bids_recon.errors import DataError, InputOutputError, MissingInputError
from bids_recon.outputs.atomic import write_text

BANNER = "#Insight Transform File V1.0"
# Changes the sign of x and y; its own inverse.
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
_AFFINE_TYPES = frozenset({"MatrixOffsetTransformBase", "AffineTransform"})
_EULER_TYPE = "Euler3DTransform"
_FIELD_TYPE = "DisplacementFieldTransform"
_REMEDY = "Give a transform as ANTs or fMRIPrep write it."

PointMap = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def write_itk_affine(path: str | Path, pull: ArrayLike) -> Path:
    """Write one or more affine transforms as ITK text.

    Parameters
    ----------
    path : path
        Ending in `.txt`.
    pull : array (4, 4) or (n, 4, 4)
        From points of the reference to points of the moving image, in mm, RAS+. Several (one a volume) make
        one file with as many blocks, as the `desc-hmc_xfm.txt` of fMRIPrep.

    Returns
    -------
    Path
        `path`.
    """
    pulls = np.asarray(pull, dtype=np.float64)
    pulls = pulls[None] if pulls.ndim == 2 else pulls
    if pulls.ndim != 3 or pulls.shape[1:] != (4, 4) or not len(pulls):
        raise ValueError(f"pull has the shape {np.shape(pull)}, not (4, 4) or (n, 4, 4)")
    if not np.isfinite(pulls).all() or not np.allclose(pulls[:, 3], [0, 0, 0, 1]):
        raise ValueError("pull is not an affine matrix")
    blocks = [
        f"#Transform {number}\n"
        "Transform: MatrixOffsetTransformBase_double_3_3\n"
        f"Parameters: {_numbers([*itk[:3, :3].ravel(), *itk[:3, 3]])}\n"
        "FixedParameters: 0 0 0\n"
        for number, itk in enumerate(_FLIP @ pulls @ _FLIP)
    ]
    return write_text(path, f"{BANNER}\n" + "\n".join(blocks))


def _numbers(values: Sequence[float]) -> str:
    # Adding 0 turns -0.0, which some readers show as a sign of its own, into 0.0.
    return " ".join(repr(float(value) + 0.0) for value in values)


def read_itk_affine(path: str | Path) -> NDArray[np.float64]:
    """Read the affine transforms of an ITK text file.

    Parameters
    ----------
    path : path
        With any number of affine (`MatrixOffsetTransformBase`, `AffineTransform`) or Euler transforms.

    Returns
    -------
    ndarray (n, 4, 4) float64
        From points of the reference to points of the moving image, in mm, RAS+, in the order of the file.

    Raises
    ------
    MissingInputError
        When there is no such file, or its content was not fetched.
    DataError
        When it is damaged, or holds a transform that is not linear.
    """
    path = Path(path)
    _present(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError("is no ITK transform in text form", file=path, remedy=_REMEDY) from error
    if not text.startswith("#Insight Transform File"):
        raise DataError(f"does not begin with '{BANNER}'", file=path, remedy=_REMEDY)
    blocks = re.split(r"^#Transform\s+\d+\s*$", text, flags=re.MULTILINE)[1:]
    if not blocks:
        raise DataError("holds no transform", file=path, remedy=_REMEDY)
    pulls: list[NDArray[np.float64]] = []
    for block in blocks:
        fields = dict(line.split(":", 1) for line in block.splitlines() if ":" in line)
        try:
            kind = fields["Transform"].strip()
            parameters = np.array(fields["Parameters"].split(), dtype=np.float64)
            fixed = np.array(fields["FixedParameters"].split(), dtype=np.float64)
        except (KeyError, ValueError) as error:
            raise DataError(
                f"is cut short or damaged at transform {len(pulls)}", file=path, remedy=_REMEDY
            ) from error
        pulls.append(_pull(kind, parameters, fixed, path))
    return np.stack(pulls)


def _present(path: Path) -> None:
    if not path.exists() and not path.is_symlink():
        raise MissingInputError("there is no such file", file=path)
    if not is_fetched(path):
        raise not_fetched([path])


def _pull(
    kind: str, parameters: NDArray[np.float64], fixed: NDArray[np.float64], path: Path
) -> NDArray[np.float64]:
    """Turn the parameters of a linear transform into a matrix in RAS+: x' = M (x - c) + c + t."""
    name = kind.split("_", 1)[0]
    if name in _AFFINE_TYPES and len(parameters) == 12:
        matrix = parameters[:9].reshape(3, 3)
    elif name == _EULER_TYPE and len(parameters) == 6:
        # itk::Euler3DTransform rotates about y, then x, then z, or about x, y, z when its flag says so.
        order = "xyz" if len(fixed) > 3 and fixed[3] else "yxz"
        angle = dict(zip("xyz", parameters[:3], strict=True))
        matrix = Rotation.from_euler(order, [angle[axis] for axis in order]).as_matrix()
    else:
        raise DataError(
            f"holds a transform of the type {kind} with {len(parameters)} parameters, which is not read here",
            file=path,
            remedy="Affine and Euler transforms are; convert it with antsApplyTransforms or c3d_affine_tool.",
        )
    if len(fixed) < 3 or not np.isfinite(parameters).all():
        raise DataError("its numbers are damaged", file=path, remedy=_REMEDY)
    centre = fixed[:3]
    itk = np.eye(4)
    itk[:3, :3] = matrix
    itk[:3, 3] = parameters[-3:] + centre - matrix @ centre
    return _FLIP @ itk @ _FLIP


@dataclass(frozen=True)
class CompositeTransform:
    """Transforms that are applied to points one after the other.

    Attributes
    ----------
    steps : tuple of callables
        Each maps points (n, 3) in mm RAS+ to points; in the order of application.
    """

    steps: tuple[PointMap, ...]

    def map_points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points (n, 3) of the reference to the moving image, both in mm, RAS+."""
        mapped = np.asarray(points, dtype=np.float64)
        for step in self.steps:
            mapped = step(mapped)
        return mapped


@dataclass(frozen=True)
class _Linear:
    pull: NDArray[np.float64]

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return apply_affine(self.pull, points)


@dataclass(frozen=True)
class _Field:
    """Displacements (x, y, z, 3) float32 in mm RAS+, and the affine of their grid."""

    displacements: NDArray[np.float32]
    affine: NDArray[np.float64]

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        voxels = apply_affine(np.linalg.inv(self.affine), points).reshape(-1, 3).T
        last = np.array(self.displacements.shape[:3])[:, None] - 0.5
        # itk::DisplacementFieldTransform leaves a point outside its grid where it is.
        inside = ((voxels >= -0.5) & (voxels < last)).all(axis=0)
        moved = np.array(points, dtype=np.float64).reshape(-1, 3)
        for axis in range(3):
            moved[inside, axis] += map_coordinates(
                self.displacements[..., axis], voxels[:, inside], order=1, mode="nearest", output=np.float64
            )
        return moved.reshape(np.shape(points))


def read_itk_composite(path: str | Path) -> CompositeTransform:
    """Read an ITK transform in HDF5 form, such as fMRIPrep's `from-T1w_to-MNI152NLin2009cAsym_xfm.h5`.

    Parameters
    ----------
    path : path
        Affine and Euler transforms and displacement fields, alone or in a composite.

    Returns
    -------
    CompositeTransform
        Its `map_points` maps points of the reference (`to-`) to the moving image (`from-`). ITK keeps the
        transforms of a composite in the order of their making and applies the last one first.

    Raises
    ------
    MissingInputError
        When there is no such file, or its content was not fetched.
    DataError
        When it is no transform, or of a type that is not read here.
    """
    import h5py

    path = Path(path)
    _present(path)
    try:
        with h5py.File(path, "r") as opened:
            groups = opened["TransformGroup"]
            stored = [_stored(groups[key]) for key in sorted(groups, key=int)]
    except OSError as error:
        if error.errno is not None:
            raise InputOutputError(f"cannot be read ({error.strerror})", file=path) from error
        raise DataError("is damaged, or no HDF5 file", file=path, remedy=_REMEDY) from error
    except (KeyError, ValueError) as error:
        raise DataError("holds no ITK transform", file=path, remedy=_REMEDY) from error
    steps = [
        _field(parameters, fixed, path)
        if kind.startswith(_FIELD_TYPE)
        else _Linear(_pull(kind, parameters.astype(np.float64), fixed, path))
        for kind, parameters, fixed in stored
        if not kind.startswith("CompositeTransform")
    ]
    return CompositeTransform(tuple(reversed(steps)))


def _stored(group: Any) -> tuple[str, NDArray[Any], NDArray[np.float64]]:
    """Type, parameters and fixed parameters of a transform; a composite has none."""
    kind = group["TransformType"][0].decode()
    # ITK before 4.12 (2017) misspelt the names.
    word = "Transform" if "TransformParameters" in group else "Tranform"
    if f"{word}Parameters" not in group:
        return kind, np.empty(0), np.empty(0)
    return kind, group[f"{word}Parameters"][:], group[f"{word}FixedParameters"][:].astype(np.float64)


def _field(parameters: NDArray[Any], fixed: NDArray[np.float64], path: Path) -> _Field:
    """Displacement field from its vectors, x fastest, and its size, origin, spacing and directions."""
    if len(fixed) != 18 or 3 * np.prod(fixed[:3]) != len(parameters):
        raise DataError("its displacement field is damaged", file=path, remedy=_REMEDY)
    shape = fixed[:3].astype(int)
    grid = np.eye(4)
    grid[:3, :3] = fixed[9:].reshape(3, 3) * fixed[6:9]
    grid[:3, 3] = fixed[3:6]
    vectors = parameters.astype(np.float32).reshape((3, *shape), order="F")
    displacements = np.ascontiguousarray(np.moveaxis(vectors, 0, -1)) * np.array([-1, -1, 1], np.float32)
    return _Field(displacements, _FLIP @ grid)
