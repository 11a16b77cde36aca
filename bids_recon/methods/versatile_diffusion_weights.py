"""Versatile Diffusion with its published weights, once for all people and folds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from bids_recon.errors import naming
from bids_recon.models.versatile_diffusion import Part, VersatileDiffusion, build_versatile_diffusion
from bids_recon.outputs.reading import read_json
from bids_recon.weights.checkpoint import load_strictly
from bids_recon.weights.checksums import file_state
from bids_recon.weights.component import read_component
from bids_recon.weights.store import find_weight

_PARTS = ("image_unet", "text_unet", "vae")
_SCHEDULER = "versatile-diffusion/scheduler/config"
NETWORK_WEIGHTS = (
    *(f"versatile-diffusion/{part}{kind}" for part in _PARTS for kind in ("", "/config")),
    _SCHEDULER,
)
"""Names in the manifest of what `load_versatile_diffusion` reads."""


def load_versatile_diffusion(
    device: torch.device, dtype: torch.dtype = torch.float32, weights: Path | None = None
) -> VersatileDiffusion:
    """Load Versatile Diffusion.

    Parameters
    ----------
    device : torch.device
    dtype : torch.dtype
        Precision of its networks.
    weights : Path, optional
        Folder of weights; by default that of `bids_recon.weights.store.weights_folder`.

    Raises
    ------
    MissingInputError
        When weights are not there.
    DataError
        When they are damaged, or those of another network.
    """
    files = [find_weight(name, weights) for name in NETWORK_WEIGHTS]
    return _load(device, dtype, weights, tuple((file, file_state(file)) for file in files))


@lru_cache(maxsize=1)
def _load(
    device: torch.device,
    dtype: torch.dtype,
    weights: Path | None,
    files: tuple[tuple[Path, tuple[int, int]], ...],
) -> VersatileDiffusion:
    """Load the networks, or take those at hand. `files` tells those that changed."""
    parts = {name: _read(name, weights) for name in _PARTS}
    scheduler, _ = files[-1]
    with naming(scheduler):
        network = build_versatile_diffusion(
            **parts, scheduler=read_json(scheduler), load=load_strictly, dtype=dtype
        )
    return network.to(device)


def _read(name: str, weights: Path | None) -> Part:
    component = read_component(name, weights)
    return Part(component.config, component.state, component.file)
