"""What the group level may choose of how pictures are drawn, and what decoding has settled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_recon.config import Settings
from bids_recon.errors import UsageError
from bids_recon.methods.registry import make_method
from bids_recon.workflow.method_settings import DRAWING, options_of

# Options of single methods that settle what decoded latents are.
SETTLED = ("encoder", "norm_correction", "vdvae_latents")


def drawing_record(choices: Mapping[str, Any]) -> dict[str, Any]:
    """How a method draws pictures, of all its choices (`Method.choices`); empty where it has none."""
    return {name: choices[name] for name in (*DRAWING, "layers") if name in choices}


def check_settled(settings: Settings, method: str, sidecar: Mapping[str, Any], *, file: Path) -> None:
    """Refuse options that decoding has settled, and that say something else.

    Parameters
    ----------
    settings : Settings
    method : str
    sidecar : mapping
        Of the decoded latents.
    file : Path
        The sidecar, for the message.

    Raises
    ------
    UsageError
    """
    decoded = make_method(method, options_of(sidecar, settings)).choices
    for name in SETTLED:
        given = getattr(settings, name)
        if name in decoded and given not in (None, decoded[name]):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"latents were decoded with {option} {decoded[name]}, and {option} {given} is asked for",
                file=file,
                remedy="Leave it out, or run the participant level again with it.",
            )
