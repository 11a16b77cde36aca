"""Methods found by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from bids_recon.errors import UsageError
from bids_recon.methods import registry
from bids_recon.methods.base import MethodOptions
from bids_recon.methods.eigenimage import Eigenimage


def register(monkeypatch: pytest.MonkeyPatch, **targets: str) -> None:
    points = [EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in targets.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


def test_built_in_methods_need_no_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    assert registry.available_methods() == ("brain-diffuser", "deep-recon", "eigenimage")
    method = registry.make_method("eigenimage", MethodOptions(extra={"n_components": 3}))
    assert isinstance(method, Eigenimage)
    assert method.options.extra["n_components"] == 3


def test_methods_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, ours="bids_recon.methods.eigenimage:Eigenimage", eigenimage="nowhere:Nothing")
    assert registry.available_methods() == ("brain-diffuser", "deep-recon", "eigenimage", "ours")
    assert isinstance(registry.make_method("ours"), Eigenimage)
    assert isinstance(registry.make_method("eigenimage"), Eigenimage)


def test_unknown_method_lists_those_that_exist() -> None:
    with pytest.raises(UsageError, match=r"no method 'eigenimgae'. Choose one of: .*eigenimage"):
        registry.make_method("eigenimgae")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("package_that_is_not_there:Thing", "cannot be loaded from package_that_is_not_there:Thing"),
        ("bids_recon.methods.eigenimage:Absent", "cannot be loaded"),
        ("bids_recon.methods.base:MethodOptions", "not a subclass of Method"),
    ],
)
def test_broken_registration_is_named(monkeypatch: pytest.MonkeyPatch, target: str, message: str) -> None:
    register(monkeypatch, broken=target)
    with pytest.raises(UsageError, match=message):
        registry.make_method("broken")
