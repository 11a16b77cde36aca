"""Pictures of Brain-Diffuser in batches, against a loop that draws one at a time with the published settings.

    python benchmarks/render.py [--json] [--quick] [--full]

Networks have random weights. With a GPU, or `--full`, they have their published sizes: VDVAE of width 512,
U-Net of 320 channels with both attentions, pictures of 512 pixels, 37 of 50 steps, guidance 7.5; on a GPU in
half precision, as published. Otherwise everything is a quarter as wide, pictures have 128 pixels, and 7 of 10
steps are taken: such figures say what batches bring on a CPU, and nothing of a GPU. Every case draws the same
pictures from the same latents and seeds, in a process of its own, first guess and both codings included. The
ratio is to one at a time. `apart` is the largest difference to the pictures of that loop in grey levels.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import answer, measure, report
from PIL import Image
from torch import nn

from bids_recon.decoders.device import find_device
from bids_recon.latents.vdvae_space import LoadedVdvae, VdvaeSpace
from bids_recon.methods.dual_guidance import GuidanceSettings, refine
from bids_recon.models.ddim import DdimSchedule
from bids_recon.models.dual_transformer import DualTransformer
from bids_recon.models.vdvae import Vdvae
from bids_recon.models.versatile_diffusion import VersatileDiffusion

DEVICE = find_device("auto")
QUICK = "--quick" in sys.argv
FULL = "--full" in sys.argv or (DEVICE.type == "cuda" and not QUICK)
N_PICTURES = 16 if FULL and DEVICE.type == "cuda" else 4 if FULL or QUICK else 16
SETTINGS = GuidanceSettings(steps=50 if FULL else 4 if QUICK else 10)
SHARE = 1 if FULL else 4
DTYPE = torch.float16 if DEVICE.type == "cuda" else torch.float32
TOKEN_WIDTH, TEXT_TOKENS, VISION_TOKENS = 768 // SHARE, 77, 257
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "num_train_timesteps": 1000,
}

Timed = Callable[[], Mapping[str, Any]]


def diffusion() -> VersatileDiffusion:
    """Versatile Diffusion with random weights, of the published size or narrower."""
    from diffusers import AutoencoderKL, Transformer2DModel, UNet2DConditionModel

    torch.manual_seed(0)
    channels = tuple(width // SHARE for width in (320, 640, 1280, 1280))
    unet = UNet2DConditionModel(
        sample_size=64 // SHARE,
        block_out_channels=channels,
        attention_head_dim=8,
        cross_attention_dim=TOKEN_WIDTH,
        norm_num_groups=16 if SHARE > 1 else 32,
    )
    found = {name: part for name, part in unet.named_modules() if isinstance(part, Transformer2DModel)}
    for name, image in found.items():
        parent, _, own = name.rpartition(".")
        setattr(unet.get_submodule(parent), own, DualTransformer(image, copy.deepcopy(image)))
    vae = AutoencoderKL(
        block_out_channels=tuple(width // SHARE for width in (128, 256, 512, 512)),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    # In a list, since diffusers' own `to` warns.
    nn.ModuleList([unet, vae]).to(DEVICE, DTYPE)
    return VersatileDiffusion(unet, vae, DdimSchedule.from_config(SCHEDULER))


def first_guess() -> VdvaeSpace:
    """A VDVAE with random weights."""
    torch.manual_seed(0)
    network = Vdvae(512 // SHARE).requires_grad_(False).eval().to(DEVICE)
    return VdvaeSpace(LoadedVdvae(network, "random", DEVICE))


def drawing(at_once: int) -> Callable[[], Timed]:
    """Draw all pictures, so many at a time."""

    def case() -> Timed:
        network, guesser = diffusion(), first_guess()
        rng = np.random.default_rng(0)
        latents = rng.normal(0, 0.5, (N_PICTURES, *guesser.shape)).astype(np.float32)
        text, vision = (
            torch.from_numpy(rng.normal(0, 1, (N_PICTURES + 1, n, TOKEN_WIDTH)).astype(np.float32))
            for n in (TEXT_TOKENS, VISION_TOKENS)
        )
        seeds = np.arange(N_PICTURES, dtype=np.uint64)

        def draw(rows: slice) -> np.ndarray:
            small = guesser.decode(latents[rows], seeds[rows])
            size = (network.size, network.size)
            large = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in small]
            guides = (text[rows], vision[rows], text[-1:], vision[-1:])
            return refine(network, np.stack(large), *guides, seeds[rows], SETTINGS)

        draw(slice(0, 1))  # The first picture pays for kernels that are chosen or compiled.
        if DEVICE.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

        def timed() -> Mapping[str, Any]:
            starts = range(0, N_PICTURES, at_once)
            pictures = np.concatenate(
                [draw(slice(start, min(start + at_once, N_PICTURES))) for start in starts]
            )
            np.save(Path(tempfile.gettempdir()) / f"bids_recon_render_{at_once}.npy", pictures)
            if DEVICE.type != "cuda":
                return {}
            torch.cuda.synchronize()
            return {"peak_gpu_mb": torch.cuda.max_memory_allocated() / 1e6}

        return timed

    return case


BATCHES = (1, 4, 16)
NAMES = {1: "one at a time, as published", 4: "batches of 4", 16: "batches of 16"}
CASES = {NAMES[n]: drawing(n) for n in BATCHES}


def main() -> None:
    """Measure every size of batch, and print figures."""
    chosen = [n for n in BATCHES if n <= N_PICTURES]
    arguments = [flag for flag in ("--quick", "--full") if flag in sys.argv]
    found, alone = [], None
    for n in chosen:
        one = measure(__file__, NAMES[n], arguments=arguments)
        pictures = np.load(Path(tempfile.gettempdir()) / f"bids_recon_render_{n}.npy").astype(int)
        alone = pictures if alone is None else alone
        facts = {
            "pictures_per_minute": 60 * N_PICTURES / one.seconds,
            "apart": int(np.abs(pictures - alone).max()),
        }
        found.append(type(one)(one.name, one.seconds, one.peak_rss_mb, {**one.facts, **facts}))
    if "--json" not in sys.argv:
        size = "published size" if FULL else "a quarter as wide"
        kind = f"{DEVICE.type}, {str(DTYPE).removeprefix('torch.')}"
        print(f"{N_PICTURES} pictures, networks of {size}, {SETTINGS.steps_taken} steps, {kind}")
    report(found, baseline=found[0], as_json="--json" in sys.argv)


if __name__ == "__main__" and not answer(CASES):
    main()
