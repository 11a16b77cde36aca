"""Versatile Diffusion for pictures under two guides: a U-Net with dual attention, and the VAE of its latents.

Xu et al. 2023, "Versatile Diffusion: text, images and variations all in one diffusion model". Its parts are
classes of diffusers that Stable Diffusion needs too; of the text U-Net only the attention is used.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bids_recon.errors import DataError
from bids_recon.models.ddim import DdimSchedule
from bids_recon.models.dual_transformer import DualTransformer

# What diffusers called the layers of the VAE's attention when the weights were published.
_FORMER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_FORMER_KEY = re.compile(rf"(.+\.attentions\.\d+)\.({'|'.join(_FORMER)})\.(weight|bias)")


class Part(NamedTuple):
    """Configuration and weights of a part, as diffusers writes them, and the file of the weights."""

    config: Mapping[str, Any]
    state: Mapping[str, Tensor]
    file: Path


PUBLISHED_SIDE = 64
"""Height and width of the latents of a picture, where the configuration leaves them open."""
Load = Callable[[nn.Module, Mapping[str, Tensor], Path], None]
"""Gives a module of the device `meta` the tensors of a file, which must fit exactly."""


class VersatileDiffusion(nn.Module):
    """The networks that denoise latents of pictures, and that lead to latents and back.

    Parameters
    ----------
    unet : nn.Module
        `UNet2DConditionModel` of diffusers, each of its transformers a `DualTransformer`.
    vae : nn.Module
        `AutoencoderKL` of diffusers.
    schedule : DdimSchedule

    Attributes
    ----------
    size : int
        Height and width of pictures in pixels, 512 as published.
    latent_shape : tuple of int
        Channels, height and width of the latents of one picture, (4, 64, 64) as published.
    """

    unet: Any
    vae: Any

    def __init__(self, unet: nn.Module, vae: nn.Module, schedule: DdimSchedule) -> None:
        super().__init__()
        self.unet, self.vae, self.schedule = unet, vae, schedule
        side = int(self.unet.config.sample_size or PUBLISHED_SIDE)
        self.latent_shape = (int(self.unet.config.in_channels), side, side)
        self.size = side * 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """In what precision they compute; all methods take and give float32."""
        return next(self.parameters()).dtype

    def noise_prediction(
        self,
        latents: Tensor,
        timestep: int,
        text: Tensor | None,
        vision: Tensor | None,
        text_strength: float,
    ) -> Tensor:
        """The noise that the U-Net sees in latents.

        Parameters
        ----------
        latents : Tensor (n, *latent_shape) float32
        timestep : int
            Of training, which says how much noise there is.
        text : Tensor (n, text_tokens, width) or None
            Normalised tokens of CLIP's text encoder; None leaves this guide out.
        vision : Tensor (n, vision_tokens, width) or None
            Normalised tokens of CLIP's vision encoder; None leaves this guide out.
        text_strength : float
            From 0 (picture only) to 1 (text only); without effect where a guide is left out.

        Returns
        -------
        Tensor (n, *latent_shape) float32

        Raises
        ------
        ValueError
            Without any guide.
        """
        tokens = [guide for guide in (text, vision) if guide is not None]
        if not tokens:
            raise ValueError("one guide is needed, text or vision")
        if len(tokens) == 1:
            text_strength = float(vision is None)
        found = self.unet(
            latents.to(self.dtype),
            timestep,
            torch.cat(tokens, 1).to(self.dtype),
            cross_attention_kwargs={
                "text_strength": text_strength,
                "text_tokens": 0 if text is None else text.shape[1],
            },
            return_dict=False,
        )[0]
        return found.float()

    def encode_pictures(self, pictures: NDArray[np.uint8], noise: Tensor) -> Tensor:
        """Latents of pictures: draws from the posterior of the VAE, in the units of the U-Net.

        Parameters
        ----------
        pictures : ndarray (n, size, size, 3) uint8
            RGB.
        noise : Tensor (n, *latent_shape) float32
            Standard normal, in place of random numbers; zeros give the mean of the posterior.

        Returns
        -------
        Tensor (n, *latent_shape) float32

        Raises
        ------
        ValueError
            When the pictures have another size.
        """
        if pictures.shape[1:] != (self.size, self.size, 3):
            raise ValueError(f"pictures {pictures.shape[1:]} are not ({self.size}, {self.size}, 3)")
        found = []
        # One at a time: a picture fills the processor, and all of them might not fit into its memory.
        for picture, draw in zip(pictures, noise.to(self.device), strict=True):
            levels = torch.from_numpy(np.ascontiguousarray(picture)).to(self.device).permute(2, 0, 1)[None]
            posterior = self.vae.encode((levels.float() / 127.5 - 1).to(self.dtype)).latent_dist
            found.append(posterior.mean.float() + posterior.std.float() * draw)
        return torch.cat(found) * self.vae.config.scaling_factor

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Pictures of latents.

        Parameters
        ----------
        latents : Tensor (n, *latent_shape) float32

        Returns
        -------
        Tensor (n, 3, size, size) float32
            From -1 (black) to 1; values may lie outside.
        """
        scaled = (latents / self.vae.config.scaling_factor).to(self.dtype)
        return torch.cat([self.vae.decode(one[None]).sample.float() for one in scaled])


def build_versatile_diffusion(
    image_unet: Part,
    text_unet: Part,
    vae: Part,
    scheduler: Mapping[str, Any],
    load: Load,
    dtype: torch.dtype = torch.float32,
) -> VersatileDiffusion:
    """Make Versatile Diffusion from its parts, in eval mode and on the CPU.

    Parameters
    ----------
    image_unet, text_unet, vae : Part
        What lies in the folders of these names. Of `text_unet`, only the weights of the transformers that
        stand in the places of those of the image U-Net are used, and no configuration.
    scheduler : mapping
        Configuration in `scheduler`.
    load : callable
        `bids_recon.weights.checkpoint.load_strictly`, of a room that this one does not know.
    dtype : torch.dtype
        Precision of the networks.

    Raises
    ------
    DataError
        When weights do not fit, or a configuration makes no network. That of the scheduler names no file.
    """
    from diffusers import AutoencoderKL, Transformer2DModel, UNet2DConditionModel

    # A pipeline that was saved as a whole has the transformers of both U-Nets in one; the parts have not.
    unet = _empty(UNet2DConditionModel, image_unet, {"dual_cross_attention": False})
    autoencoder = _empty(AutoencoderKL, vae, {})
    # Weights are converted one by one when they are loaded. (In a list, since diffusers' own `to` warns.)
    nn.ModuleList([unet, autoencoder]).to(dtype)
    found = {name: part for name, part in unet.named_modules() if isinstance(part, Transformer2DModel)}
    if not found:
        raise DataError("describes a U-Net without attention", file=_config_file(image_unet))
    text = {name: copy.deepcopy(transformer) for name, transformer in found.items()}
    load(unet, image_unet.state, image_unet.file)
    for name, transformer in found.items():
        _load_inside(text[name], name, text_unet, load)
        parent, _, own = name.rpartition(".")
        setattr(unet.get_submodule(parent), own, DualTransformer(transformer, text[name]))
    load(autoencoder, current_names(vae.state), vae.file)
    return VersatileDiffusion(unet, autoencoder, DdimSchedule.from_config(scheduler))


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a VAE under the names of today, where they have those of 2022.

    The linear layers of its attention had other names then, and came as convolutions too.
    """
    renamed = {}
    for key, value in state.items():
        if former := _FORMER_KEY.fullmatch(key):
            block, layer, kind = former.groups()
            key = f"{block}.{_FORMER[layer]}.{kind}"
            value = value.flatten(1) if value.ndim == 4 else value
        renamed[key] = value
    return renamed


def _empty(network: Any, part: Part, fixed: Mapping[str, Any]) -> nn.Module:
    if "block_out_channels" not in part.config:
        # Diffusers would make a network of sizes that nobody gave.
        raise DataError(
            f"describes no {network.__name__} (it lacks 'block_out_channels')",
            file=_config_file(part),
            remedy="Give the configuration that was published with the weights.",
        )
    try:
        # No memory for weights that are replaced at once.
        with torch.device("meta"):
            return network.from_config({**part.config, **fixed})
    # Wrong configurations raise whatever the first wrong value leads to.
    except Exception as error:
        raise DataError(
            f"describes no {network.__name__} ({error})",
            file=_config_file(part),
            remedy="Give the configuration that was published with the weights.",
        ) from error


def _load_inside(module: nn.Module, name: str, part: Part, load: Load) -> None:
    """Load a module from the tensors that have its name in front."""
    inside = {
        key.removeprefix(f"{name}."): value for key, value in part.state.items() if key.startswith(f"{name}.")
    }
    if not inside:
        raise DataError(
            f"has no weights of '{name}'", file=part.file, remedy="Give the weights of the text U-Net."
        )
    load(module, inside, part.file)


def _config_file(part: Part) -> Path:
    return part.file.with_name("config.json")
