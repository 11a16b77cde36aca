"""Registration by ANTs, for those who have installed `antspyx`.

Avants et al., NeuroImage 54, 2011, 2033-2044; SyN: Avants et al., Medical Image Analysis 12, 2008, 26-41.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_recon.preprocess.coarsening import voxel_sizes
from bids_recon.rois.grids import Volume

# ITK's x and y grow to the left and to the back, those of NIfTI to the right and to the front.
_TURNED = np.diag([-1.0, -1.0, 1.0, 1.0])


def available() -> bool:
    """Whether `antspyx` is installed; it is not imported."""
    return importlib.util.find_spec("ants") is not None


def linear(
    fixed: Volume,
    moving: Volume,
    start: NDArray[np.float64],
    *,
    fixed_mask: NDArray[np.bool_] | None = None,
    kind: str = "rigid",
    seed: int = 0,
) -> NDArray[np.float64]:
    """Maximise mutual information over rigid or affine transforms.

    Parameters, units and what is returned are those of `registration_dipy.linear`, but for the seed, which is
    that of the points. One thread is used unless `ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS` says otherwise; with
    more, results differ by a few hundredths of a mm between runs.
    """
    ants = _load(seed)
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            _image(fixed),
            _image(moving),
            "Affine" if kind == "affine" else "Rigid",
            initial_transform=_written(start, Path(folder, "start.mat")),
            outprefix=str(Path(folder, "found_")),
            mask=None if fixed_mask is None else _image(Volume(fixed_mask, fixed.affine)),
            mask_all_stages=fixed_mask is not None,
            aff_metric="mattes",
            aff_random_sampling_rate=0.5,
            aff_iterations=(50, 30),
            aff_shrink_factors=(2, 1),
            aff_smoothing_sigmas=(1, 0),
        )
        return _read(found["fwdtransforms"][-1])


def deformation(
    fixed: Volume, moving: Volume, affine: NDArray[np.float64], *, seed: int = 0
) -> NDArray[np.float32]:
    """Symmetric diffeomorphic registration (SyN) by local cross-correlation.

    Parameters, units and what is returned are those of `registration_dipy.deformation`.
    """
    ants = _load(seed)
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            _image(fixed),
            _image(moving),
            "SyNOnly",
            initial_transform=_written(affine, Path(folder, "start.mat")),
            outprefix=str(Path(folder, "found_")),
            syn_metric="CC",
            syn_sampling=2,
            reg_iterations=(50, 30, 8),
        )
        warp = next(file for file in found["fwdtransforms"] if str(file).endswith(".nii.gz"))
        field = ants.image_read(str(warp)).numpy()
    return np.asarray(field * [-1, -1, 1], dtype=np.float32)


def _load(seed: int) -> Any:
    """ANTs, such that a seed decides the result: sums over threads come out differently each time."""
    # Read when the library is first used, and at each registration; 0 would take the time of day.
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    os.environ["ANTS_RANDOM_SEED"] = str(seed + 1)
    import ants

    return ants


def _image(volume: Volume) -> Any:
    import ants

    affine = _TURNED @ volume.affine
    spacing = voxel_sizes(affine)
    return ants.from_numpy(
        np.asarray(volume.data, dtype=np.float32),
        origin=affine[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=affine[:3, :3] / spacing,
    )


def _written(pull: NDArray[np.float64], path: Path) -> str:
    import ants

    turned = _TURNED @ pull @ _TURNED
    transform = ants.create_ants_transform(
        transform_type="AffineTransform",
        precision="double",
        dimension=3,
        parameters=[*turned[:3, :3].ravel(), *turned[:3, 3]],
        fixed_parameters=[0.0, 0.0, 0.0],
    )
    ants.write_transform(transform, str(path))
    return str(path)


def _read(path: str) -> NDArray[np.float64]:
    import ants

    transform = ants.read_transform(path)
    parameters, centre = np.asarray(transform.parameters), np.asarray(transform.fixed_parameters)
    turned = np.eye(4)
    turned[:3, :3] = parameters[:9].reshape(3, 3)
    turned[:3, 3] = parameters[9:] + centre - turned[:3, :3] @ centre
    return np.asarray(_TURNED @ turned @ _TURNED)
