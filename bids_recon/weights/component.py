"""A part of a network of several parts, each with a folder of its own for its configuration and weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bids_recon.outputs.reading import read_json
from bids_recon.weights.checkpoint import load_state
from bids_recon.weights.checksums import content_hash
from bids_recon.weights.manifest import VERSATILE_DIFFUSION
from bids_recon.weights.store import find_weight


@dataclass(frozen=True)
class Component:
    """A part of a network as it is published.

    Attributes
    ----------
    config : dict
        Its `config.json`: what its module is made with.
    state : dict of Tensor
        Its weights, as `load_state` gives them.
    file : Path
        The file of its weights.
    sha256 : str
        The hash of that file.
    """

    config: dict[str, Any]
    state: dict[str, Tensor]
    file: Path
    sha256: str


def read_component(part: str, folder: Path | None = None) -> Component:
    """Read a part of Versatile Diffusion (Xu et al. 2023), after checking both of its files.

    Parameters
    ----------
    part : str
        Name of its folder: image_unet, text_unet, vae, text_encoder or image_encoder.
    folder : Path, optional
        Folder of weights; see `weights_folder`.

    Returns
    -------
    Component
        With its weights on the CPU, mapped into memory where the format allows it.

    Raises
    ------
    MissingInputError
        When a file is not on this machine.
    DataError
        When a file is damaged, the configuration is no JSON object, or the weights are no named tensors.
    ValueError
        When there is no such part.
    """
    name = f"{VERSATILE_DIFFUSION}/{part}"
    config, file = find_weight(f"{name}/config", folder), find_weight(name, folder)
    remedy = f"Put the published {config.name} in its place."
    return Component(read_json(config, remedy=remedy), load_state(file), file, content_hash(file))
