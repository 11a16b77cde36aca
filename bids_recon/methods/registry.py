"""Methods by name: those of this package, and those that other packages register."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from bids_recon.errors import UsageError
from bids_recon.methods.base import Method, MethodOptions

ENTRY_POINT_GROUP = "bids_recon.methods"
# Works from a source tree that is not installed, and cannot be overridden by another package.
BUILT_IN = {
    "brain-diffuser": "bids_recon.methods.brain_diffuser:BrainDiffuser",
    "deep-recon": "bids_recon.methods.deep_recon:DeepRecon",
    "eigenimage": "bids_recon.methods.eigenimage:Eigenimage",
}


def _targets() -> dict[str, str]:
    registered = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return registered | BUILT_IN


def available_methods() -> tuple[str, ...]:
    """Names of all methods that can be asked for, sorted; nothing is imported."""
    return tuple(sorted(_targets()))


def method_class(name: str) -> type[Method]:
    """Class of a method.

    Raises
    ------
    UsageError
        When there is no such method, or the package that brings it cannot be imported.
    """
    targets = _targets()
    if name not in targets:
        raise UsageError(
            f"there is no method '{name}'", remedy=f"Choose one of: {', '.join(available_methods())}."
        )
    module, _, attribute = targets[name].partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"the method '{name}' cannot be loaded from {targets[name]} ({error})",
            remedy="Install the packages it needs, or choose another method.",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UsageError(f"the method '{name}' ({targets[name]}) is not a subclass of Method")
    return found


def make_method(name: str, options: MethodOptions | None = None) -> Method:
    """Make an instance of a method, unfitted.

    Raises
    ------
    UsageError
        When there is no such method, it cannot be imported, or an option does not suit it.
    """
    return method_class(name)(options)
