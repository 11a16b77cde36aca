"""What every page is made from: templates, style, scripts, and the hash by which a page allows its script."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined


def static_file(name: str) -> str:
    """Text of a style sheet or script of the package."""
    return resources.files("bids_recon.report").joinpath("static", name).read_text(encoding="utf-8")


def template_environment() -> Environment:
    """Where templates are found; what they show is escaped, and a missing name is an error."""
    return Environment(
        loader=PackageLoader("bids_recon.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def script_hash(script: str) -> str:
    """Hash (base64 of SHA-256) of a script, as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
