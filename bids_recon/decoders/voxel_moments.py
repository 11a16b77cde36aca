"""Moments of training responses and the Gram matrix of their voxels, which all units of all latents share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

# Voxels that are turned into double precision, or multiplied with those after them, at a time.
BLOCK = 512
# np.var below this counts as constant in responses as given, as it does in FastL2LiR.
SMALLEST_VARIANCE = 1e-8


@dataclass(frozen=True)
class VoxelMoments:
    """Responses of training trials with centre and scale of their voxels.

    Attributes
    ----------
    responses : tensor (n_trials, n_voxels), float32 or float64
        As given, on the device.
    mean, inverse_scale, inverse_norm : tensor (n_voxels,) float64
        Voxels are centred and multiplied by the inverse scale: one over their deviation (ddof 1) if they are
        standardised, else one. The inverse norm is one over the length of a centred column. Both are zero for
        voxels that do not vary.
    """

    responses: torch.Tensor
    mean: torch.Tensor
    inverse_scale: torch.Tensor
    inverse_norm: torch.Tensor

    @classmethod
    def of(cls, responses: torch.Tensor, standardise: bool) -> VoxelMoments:
        """Measure responses (n_trials, n_voxels).

        A voxel is constant when its variance over trials is below 1e-8 or, where voxels are standardised and
        may have any unit, when its deviation is of the order of rounding.
        """
        n_trials, n_voxels = responses.shape
        mean = torch.empty(n_voxels, dtype=torch.float64, device=responses.device)
        squares = torch.empty_like(mean)
        for part in blocks(n_voxels):
            values = responses[:, part].double()
            mean[part] = values.mean(dim=0)
            squares[part] = ((values - mean[part]) ** 2).sum(dim=0)
        deviation = torch.sqrt(squares / (n_trials - 1))
        if standardise:
            varies = deviation > 10 * torch.finfo(responses.dtype).eps * mean.abs()
        else:
            varies = squares / n_trials >= SMALLEST_VARIANCE
        scale = deviation if standardise else torch.ones_like(deviation)
        inverse_scale = torch.where(varies, 1 / scale, 0.0)
        inverse_norm = torch.where(varies, 1 / torch.sqrt(squares), 0.0)
        return cls(responses, mean, inverse_scale, inverse_norm)

    @property
    def varying(self) -> torch.Tensor:
        """Increasing indices (n_varying,) int64 of the voxels that vary."""
        return torch.nonzero(self.inverse_scale)[:, 0]

    def design(self, dtype: torch.dtype) -> torch.Tensor:
        """Centred and scaled voxels (n_trials, n_voxels)."""
        scaled = torch.empty(self.responses.shape, dtype=dtype, device=self.responses.device)
        for part in blocks(self.responses.shape[1]):
            scaled[:, part] = (self.responses[:, part].double() - self.mean[part]) * self.inverse_scale[part]
        return scaled

    def products(self, targets: torch.Tensor, design: torch.Tensor | None = None) -> torch.Tensor:
        """Inner products (n_targets, n_voxels) of centred targets and scaled voxels.

        `targets` (n_trials, n_targets) float64 have to be centred: the means of voxels then drop out. The
        products are in float64, or in the precision of a `design` where one is given.
        """
        n_voxels = self.responses.shape[1]
        kind = torch.float64 if design is None else design.dtype
        found = torch.empty(targets.shape[1], n_voxels, dtype=kind, device=targets.device)
        if design is not None:
            multiply(targets.to(kind).T, design, into=found)
            return found
        for part in blocks(n_voxels):
            multiply(targets.T, self.responses[:, part], into=found[:, part])
        return found.mul_(self.inverse_scale)

    def strengths(self, products: torch.Tensor) -> torch.Tensor:
        """Absolute correlations times the length of the target, (n_targets, n_voxels); -1 where constant."""
        varies = self.inverse_scale > 0
        length = torch.where(varies, self.inverse_norm / torch.where(varies, self.inverse_scale, 1.0), 0.0)
        found = (products * length.to(products.dtype)).abs_()
        return found if bool(varies.all()) else found.masked_fill_(~varies, -1.0)

    def exact_strengths(self, targets: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
        """The same in float64 for one centred target (n_trials,) and some voxels."""
        values = self.responses[:, voxels].double() - self.mean[voxels]
        return (targets @ values * self.inverse_norm[voxels]).abs_()

    @staticmethod
    def gram(design: torch.Tensor) -> torch.Tensor:
        """Inner products (n_voxels, n_voxels) of centred and scaled voxels, in the upper triangle.

        Square blocks of `BLOCK` voxels on the diagonal are complete; what is below them has no meaning.
        """
        n_voxels = design.shape[1]
        gram = torch.empty(n_voxels, n_voxels, dtype=design.dtype, device=design.device)
        for part in blocks(n_voxels):
            multiply(design[:, part].T, design[:, part.start :], into=gram[part, part.start :])
        return gram


def multiply(a: torch.Tensor, b: torch.Tensor, into: torch.Tensor) -> None:
    """Matrix product in the precision of `a`; on the CPU by numpy, whose BLAS is faster than torch's."""
    if a.device.type == "cpu":
        np.matmul(a.numpy(), b.numpy().astype(a.numpy().dtype, copy=False), out=into.numpy())
    else:
        into.copy_(a @ b.to(a.dtype))


def blocks(n_voxels: int) -> list[slice]:
    """Consecutive slices of voxels."""
    return [slice(start, min(start + BLOCK, n_voxels)) for start in range(0, n_voxels, BLOCK)]
