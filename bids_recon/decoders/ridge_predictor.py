"""Predictions of a ridge, some targets at a time: from training targets, or from stored coefficients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_recon.decoders.device import numpy_dtype, to_device
from bids_recon.decoders.ridge_solver import RidgeFactor
from bids_recon.decoders.targets import RepeatedRows, Targets, chunks, read_columns
from bids_recon.outputs.tensor_files import ColumnStream, Tensor

Parts = Iterator[tuple[slice, NDArray[Any]]]
DUAL, PRIMAL, DESIGN, MEANS = "dual_coef", "primal_coef", "design", "y_mean"


@dataclass(frozen=True)
class TargetSmoother:
    """Predictions Ŷ = S Y of a fit, straight from the training targets: no coefficient is ever formed.

    Attributes
    ----------
    factor : RidgeFactor
    targets : array or RepeatedRows (n_trials, n_targets)
    alphas : ndarray (n_targets,) or float
        Penalty of each target, or of all.
    """

    factor: RidgeFactor
    targets: Targets
    alphas: NDArray[np.float64] | float

    @property
    def n_targets(self) -> int:
        """Number of targets."""
        return self.targets.shape[1]

    def parts(self, new: torch.Tensor) -> Parts:
        """Predictions (n_new, width) for standardised responses (n_new, n_voxels)."""
        return self.apply({alpha: self.factor.smoother(new, alpha) for alpha in self.distinct()})

    def distinct(self) -> list[float]:
        """The penalties in use."""
        return [float(alpha) for alpha in np.unique(self.alphas)]

    def apply(self, smoothers: dict[float, torch.Tensor], columns: slice = slice(None)) -> Parts:
        """Multiply smoothers (n_new, n_trials), one for each penalty, with targets."""
        device, kind = self.factor.design.device, self.factor.design.dtype
        stored: NDArray[Any]
        if isinstance(self.targets, RepeatedRows):
            stored = self.targets.stored
            place = torch.from_numpy(np.asarray(self.targets.rows, dtype=np.int64)).to(device)
            smoothers = {
                alpha: S.new_zeros((len(S), len(stored))).index_add_(1, place, S)
                for alpha, S in smoothers.items()
            }
        else:
            stored = self.targets
        smoothers = {alpha: S.to(kind) for alpha, S in smoothers.items()}
        for part in _within(columns, self.n_targets, len(stored), kind.itemsize):
            chunk = to_device(read_columns(stored, part, numpy_dtype(kind)), device)
            yield part, self._one(smoothers, chunk, part).cpu().numpy()

    def _one(self, smoothers: dict[float, torch.Tensor], chunk: torch.Tensor, part: slice) -> torch.Tensor:
        if len(smoothers) == 1:
            return next(iter(smoothers.values())) @ chunk
        own = torch.from_numpy(np.asarray(self.alphas)[part])
        result = chunk.new_empty((len(next(iter(smoothers.values()))), chunk.shape[1]))
        for alpha, S in smoothers.items():
            member = (own == alpha).to(chunk.device)
            result[:, member] = S @ chunk[:, member]
        return result

    def primal(self, part: slice) -> NDArray[Any]:
        """Coefficients (n_voxels, width) of standardised responses, for some targets."""
        return self._solved(part, dual=False)

    def tensors(self) -> dict[str, Tensor]:
        """What `StoredCoefficients.of` needs: dual coefficients where they take less room than primal."""
        n_trials, n_voxels = self.factor.design.shape
        dual = n_trials * (n_voxels + self.n_targets) < n_voxels * self.n_targets
        n_rows, dtype = n_trials if dual else n_voxels, numpy_dtype(self.factor.design.dtype)
        means = np.empty(self.n_targets, dtype)
        for part in chunks(self.n_targets, n_trials, dtype.itemsize):
            means[part] = self.factor.weigh(self._rows(part))[1].numpy(force=True)

        def parts() -> Parts:
            for part in chunks(self.n_targets, max(n_rows, n_trials), dtype.itemsize):
                yield part, self._solved(part, dual=dual)

        stream = ColumnStream((n_rows, self.n_targets), dtype, parts)
        if dual:
            return {DUAL: stream, DESIGN: self.factor.design.numpy(force=True), MEANS: means}
        return {PRIMAL: stream, MEANS: means}

    def _rows(self, part: slice) -> torch.Tensor:
        dtype = numpy_dtype(self.factor.design.dtype)
        return to_device(read_columns(self.targets, part, dtype), self.factor.design.device)

    def _solved(self, part: slice, *, dual: bool) -> NDArray[Any]:
        """Coefficients (n_trials or n_voxels, width) of some targets."""
        Y, _ = self.factor.weigh(self._rows(part))
        solve = self.factor.dual_coefficients if dual else self.factor.coefficients
        alphas = np.broadcast_to(np.asarray(self.alphas), (self.n_targets,))[part]
        result = Y.new_empty((self.factor.design.shape[0 if dual else 1], Y.shape[1]))
        for alpha in np.unique(alphas):
            member = torch.from_numpy(alphas == alpha).to(Y.device)
            result[:, member] = solve(Y[:, member], float(alpha))
        return result.numpy(force=True)

    def leave_out(self, rows: NDArray[np.integer], stimulus: NDArray[np.int64]) -> dict[float, torch.Tensor]:
        """Smoothers (n_rows, n_trials) that predict training trials without their own stimulus.

        With the smoother S of the fit, predictions of the trials g of a stimulus by a fit without them are
        (I - S_gg)⁻¹ (S_g Y - S_gg Y_g): the same as if the fit were made again.
        """
        wanted = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        codes = torch.from_numpy(stimulus)
        members = torch.isin(codes, codes[wanted]).nonzero()[:, 0]
        place = {int(row): position for position, row in enumerate(members)}
        groups = [members[codes[members] == code] for code in torch.unique(codes[wanted])]
        device = self.factor.design.device
        new = self.factor.design[members] / self.factor.root[members].to(self.factor.design)[:, None]
        smoothers = {}
        for alpha in self.distinct():
            S = self.factor.smoother(new, alpha)
            for group in groups:
                at = torch.tensor([place[int(row)] for row in group], device=device)
                own = S[at][:, group]
                others = S[at].clone()
                others[:, group] = 0
                S[at] = torch.linalg.solve(torch.eye(len(group), dtype=S.dtype, device=device) - own, others)
            smoothers[alpha] = S[[place[int(row)] for row in wanted]]
        return smoothers


@dataclass(frozen=True)
class StoredCoefficients:
    """Predictions from coefficients, dual (of training responses) or primal (of voxels).

    Attributes
    ----------
    coefficients : ndarray (n_trials or n_voxels, n_targets)
        May be memory-mapped.
    y_mean : ndarray (n_targets,)
    design : Tensor (n_trials, n_voxels) or None
        Training responses, standardised and weighted; None when coefficients are primal.
    device : torch device
    """

    coefficients: NDArray[Any]
    y_mean: NDArray[Any]
    design: torch.Tensor | None
    device: torch.device

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]], device: torch.device) -> StoredCoefficients:
        """From what `tensors` gave; a KeyError names what is missing."""
        dual = DUAL in tensors
        design = to_device(tensors[DESIGN], device) if dual else None
        return cls(tensors[DUAL if dual else PRIMAL], tensors[MEANS], design, device)

    def tensors(self) -> dict[str, Tensor]:
        """What `of` needs."""
        if self.design is None:
            return {PRIMAL: self.coefficients, MEANS: self.y_mean}
        return {DUAL: self.coefficients, DESIGN: self.design.numpy(force=True), MEANS: self.y_mean}

    def primal(self, part: slice) -> NDArray[Any]:
        """Coefficients (n_voxels, width) of standardised responses, for some targets."""
        stored = np.asarray(self.coefficients[:, part])
        return stored if self.design is None else self.design.T.numpy(force=True) @ stored

    @property
    def n_targets(self) -> int:
        """Number of targets."""
        return self.coefficients.shape[1]

    def parts(self, new: torch.Tensor) -> Parts:
        """Predictions (n_new, width) for standardised responses (n_new, n_voxels)."""
        left = new if self.design is None else new @ self.design.T
        for part in chunks(self.n_targets, len(self.coefficients), new.element_size()):
            chunk = to_device(read_columns(self.coefficients, part, numpy_dtype(new.dtype)), self.device)
            yield part, (left @ chunk).cpu().numpy() + self.y_mean[part]


def _within(columns: slice, n_targets: int, n_rows: int, itemsize: int) -> Iterator[slice]:
    start, stop, _ = columns.indices(n_targets)
    for part in chunks(stop - start, n_rows, itemsize):
        yield slice(start + part.start, start + part.stop)
