"""What the group level may choose of how pictures are drawn, and what decoding has settled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_recon.config import Settings
from bids_recon.errors import UsageError
from bids_recon.methods.deep_recon_settings import DeepReconSettings
from bids_recon.methods.registry import method_class
from bids_recon.workflow.method_settings import DRAWING

# Of the options of a method that finds pictures by optimisation: what decoded features are.
FEATURES = ("encoder", "norm_correction")


def drawing_record(method: str, settings: Settings) -> dict[str, Any]:
    """How a method draws pictures, JSON-ready; null for the method's own.

    Empty for a method that draws in one go.
    """
    if method_class(method).quick_render:
        return {}
    layers = list(settings.layers) or None
    return {name: getattr(settings, name) for name in DRAWING} | {"layers": layers}


def check_features(settings: Settings, method: str, sidecar: Mapping[str, Any], *, file: Path) -> None:
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
    if method_class(method).quick_render:
        return
    own = DeepReconSettings.of({name: sidecar["MethodOptions"].get(name) for name in FEATURES})
    decoded = {"encoder": own.encoder.name, "norm_correction": own.norm_correction}
    for name, before in decoded.items():
        given = getattr(settings, name)
        if given not in (None, before):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"features were decoded with {option} {before}, and {option} {given} is asked for",
                file=file,
                remedy="Leave it out, or run the participant level again with it.",
            )
