"""One fitted decoder in two files: arrays as safetensors, name and parameters as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bids_recon
from bids_recon.decoders.registry import DECODERS, describe_decoder, load_decoder
from bids_recon.errors import DataError, MissingInputError, UsageError, from_os_error
from bids_recon.outputs.atomic import write_json
from bids_recon.outputs.reading import read_json
from bids_recon.outputs.tensor_files import open_tensors, write_tensors


def save_decoder(path: str | Path, decoder: Any) -> tuple[Path, Path]:
    """Write a fitted decoder; large coefficients are computed and written some columns at a time.

    Parameters
    ----------
    path : path
        Without suffix; `.safetensors` and `.json` are appended.
    decoder : decoder
        One of this package, fitted.

    Returns
    -------
    tuple of two Path
        The JSON file, written last, and the arrays.

    Raises
    ------
    UsageError
        When the decoder is not one of this package.
    ReconError
        When a file cannot be written.
    """
    if getattr(decoder, "name", None) not in DECODERS:
        raise UsageError(f"{type(decoder).__name__} is not one of the decoders {', '.join(DECODERS)}")
    arrays, facts = _files(path)
    try:
        facts.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, facts) from error
    write_tensors(arrays, decoder.state())
    content = {
        "Description": "Decoder from responses to latents",
        "GeneratedBy": {"Name": "bids_recon", "Version": bids_recon.__version__},
        "Decoder": describe_decoder(decoder),
        "Fit": decoder.summary(),
    }
    return write_json(facts, content), arrays


def read_decoder(path: str | Path, device: str = "auto") -> Any:
    """Fitted decoder from what `save_decoder` wrote; coefficients stay on disk until they are used.

    Parameters
    ----------
    path : path
        As for `save_decoder`.
    device : {"auto", "cpu", "cuda"}
        Where it predicts.

    Raises
    ------
    MissingInputError
        When a file is missing.
    DataError
        When a file is damaged, or the two do not belong together.
    """
    arrays, facts = _files(path)
    if not facts.is_file():
        raise MissingInputError("is missing", file=facts)
    content = read_json(facts)
    try:
        return load_decoder(content["Decoder"], open_tensors(arrays), device)
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise DataError(f"does not describe a decoder ({error})", file=facts) from error


def _files(path: str | Path) -> tuple[Path, Path]:
    stem = Path(path)
    return stem.with_name(f"{stem.name}.safetensors"), stem.with_name(f"{stem.name}.json")
