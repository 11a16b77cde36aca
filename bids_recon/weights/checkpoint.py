"""Checkpoints of torch networks: named tensors from a file, and into a module that they must fit exactly."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bids_recon.errors import DataError, MissingInputError
from bids_recon.weights.caffemodel import FETCH_AGAIN

_PARALLEL = "module."


def load_state(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint. Nothing that the file says is executed.

    A mapping below the key `state_dict` is taken in place of the whole, and `module.` is removed in front
    of the names if all have it, as after training on several GPUs.

    Parameters
    ----------
    path : Path
        `.safetensors`, or what torch.save wrote under any other name (.pt, .pth, .th).

    Returns
    -------
    dict of Tensor
        On the CPU, in the types of the file; mapped into memory where the format allows it.

    Raises
    ------
    MissingInputError
        When there is no such file.
    DataError
        When it is damaged, or holds anything but named tensors.
    """
    if not path.is_file():
        raise MissingInputError("is missing", file=path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise DataError("holds no named tensors", file=path, remedy="Give the state_dict of the network.")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise DataError(
                f"its entry '{key}' is no tensor, but of the type {type(value).__name__}",
                file=path,
                remedy="Give the state_dict of the network.",
            )
    prefix = _PARALLEL if all(key.startswith(_PARALLEL) for key in content) else ""
    return {key.removeprefix(prefix): value for key, value in content.items()}


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> Any:
    try:
        # Files from before torch 1.6 are no zip archives, and cannot be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        if any(sign in str(error) for sign in ("Unsupported global", "Unsupported class")):
            raise DataError(
                "holds Python objects besides tensors, which are not loaded because they could run code",
                file=path,
                remedy="Give the state_dict of the network alone.",
            ) from error
        # Its message is advice to switch the protection off.
        raise DataError("is damaged or no checkpoint", file=path, remedy=FETCH_AGAIN) from error
    # A damaged pickle raises whatever its last intact instruction leads to.
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return DataError(f"is damaged or no checkpoint ({reason})", file=path, remedy=FETCH_AGAIN)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Give a module the tensors of a checkpoint, after checking that names and shapes are all the same.

    The module takes the tensors as they are, if their types are its own: they are not copied, so that it may
    have been made on the device `meta`, and memory is that of the file. Other types are converted.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    state : mapping of Tensor
        What `load_state` gives.
    file : Path
        Its file, for messages.

    Raises
    ------
    DataError
        When the names or shapes differ.
    """
    own = module.state_dict()
    problems = []
    if absent := [key for key in own if key not in state]:
        problems.append(f"it lacks {_some(absent)}")
    if foreign := [key for key in state if key not in own]:
        problems.append(f"it has {_some(foreign)}, which the network has not")
    if unfit := [key for key in own if key in state and own[key].shape != state[key].shape]:
        key = unfit[0]
        needed = f"{tuple(state[key].shape)} where the network has {tuple(own[key].shape)}"
        problems.append(f"{_some(unfit)} {'has' if len(unfit) == 1 else 'have'} other shapes, as {needed}")
    if problems:
        raise DataError(
            f"does not fit {type(module).__name__}: {'; '.join(problems)}",
            file=file,
            remedy="Give the file of this network.",
        )
    module.load_state_dict({key: state[key].to(own[key].dtype) for key in own}, assign=True)


def _some(keys: list[str]) -> str:
    return f"'{keys[0]}'" if len(keys) == 1 else f"'{keys[0]}' and {len(keys) - 1} more"
