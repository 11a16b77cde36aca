"""Checkpoints: formats, what is unwrapped, what is refused, and the strict way into a module."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bids_recon.errors import DataError, MissingInputError
from bids_recon.weights.checkpoint import load_state, load_strictly


class Custom:
    """Something that only running code could bring back."""


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1.0, -1.0])}


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[k], v) for k, v in expected.items())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th"])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_of_both_formats(
    tmp_path: Path, state: dict[str, Tensor], suffix: str, zipped: bool
) -> None:
    path = tmp_path / f"net{suffix}"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert same(load_state(path), state)


def test_safetensors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "net.safetensors")
    found = load_state(tmp_path / "net.safetensors")
    assert same({key: found[key] for key in state}, state)


def test_wrappers_and_prefixes_are_taken_off(tmp_path: Path, state: dict[str, Tensor]) -> None:
    parallel = {f"module.{key}": value for key, value in state.items()}
    torch.save({"epoch": 3, "state_dict": parallel, "optimizer": {"lr": 0.1}}, tmp_path / "net.pth")
    assert same(load_state(tmp_path / "net.pth"), state)
    # A module that is called so among others keeps its name.
    mixed = {"module.weight": state["weight"], "head.bias": state["bias"]}
    torch.save(mixed, tmp_path / "mixed.pth")
    assert same(load_state(tmp_path / "mixed.pth"), mixed)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_objects_are_refused(tmp_path: Path, state: dict[str, Tensor], zipped: bool) -> None:
    path = tmp_path / "net.pt"
    torch.save({**state, "extra": Custom()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"net\.pt: holds Python objects besides tensors") as caught:
        load_state(path)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_damaged_files_are_named(tmp_path: Path, zipped: bool, share: float) -> None:
    path = tmp_path / "net.pt"
    torch.save({"weight": torch.randn(50, 50)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"net\.pt: is damaged or no checkpoint.*fetch it again"):
        load_state(path)


@pytest.mark.parametrize("name", ["page.pt", "page.safetensors"])
def test_another_format_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<!DOCTYPE html>\n<html><body>Not found</body></html>")
    with pytest.raises(DataError, match=f"{name}: is damaged or no checkpoint") as caught:
        load_state(tmp_path / name)
    assert "weights_only" not in str(caught.value)


def test_what_holds_no_named_tensors_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    for content in (torch.zeros(3), [torch.zeros(3)], {}):
        torch.save(content, tmp_path / "net.pt")
        with pytest.raises(DataError, match=r"net\.pt: holds no named tensors"):
            load_state(tmp_path / "net.pt")
    torch.save({**state, "epoch": 3}, tmp_path / "net.pt")
    with pytest.raises(DataError, match=r"net\.pt: its entry 'epoch' is no tensor, but of the type int"):
        load_state(tmp_path / "net.pt")
    with pytest.raises(MissingInputError, match=r"none\.pt: is missing"):
        load_state(tmp_path / "none.pt")


def test_a_module_takes_what_fits(tmp_path: Path, state: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        module = nn.Linear(3, 2).requires_grad_(False)
    load_strictly(module, state, tmp_path / "net.pt")
    assert torch.equal(module(torch.ones(1, 3)), torch.tensor([[4.0, 11.0]]))
    assert module.weight.data_ptr() == state["weight"].data_ptr()
    assert not module.weight.requires_grad


def test_other_types_are_converted() -> None:
    module = nn.BatchNorm1d(2)
    state = {
        key: value.double() if value.is_floating_point() else value
        for key, value in module.state_dict().items()
    }
    state["running_var"] = torch.tensor([0.5, 2.0], dtype=torch.float16)
    load_strictly(module, state, Path("net.pt"))
    assert module.weight.dtype == module.running_var.dtype == torch.float32
    assert module.running_var.tolist() == [0.5, 2.0]
    assert module.num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize(("change", "problem"), [
    ({"weight": None}, r"lacks 'weight'"),
    ({"weight": None, "bias": None}, r"lacks 'weight' and 1 more"),
    ({"scale": torch.zeros(1)}, r"has 'scale', which the network has not"),
    ({"weight": torch.zeros(2, 4)}, r"'weight' has other shapes, as \(2, 4\) where the network has \(2, 3\)"),
    ({"bias": None, "offset": torch.zeros(2)}, r"lacks 'bias'; it has 'offset'"),
])  # fmt: skip
def test_what_does_not_fit_is_named_and_changes_nothing(
    state: dict[str, Tensor], change: dict[str, Tensor | None], problem: str
) -> None:
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    merged = {**state, **change}
    with pytest.raises(DataError, match=rf"net\.pt: does not fit Linear: .*{problem}"):
        load_strictly(module, {k: v for k, v in merged.items() if v is not None}, Path("net.pt"))
    assert torch.equal(module.weight, before)
