"""Pictures that take minutes are drawn once: a run that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bids_recon
from bids_recon.dataset.stimuli import picture_hash
from bids_recon.errors import DataError, MissingInputError
from bids_recon.latents.base import Captions, Image, LatentSpace
from bids_recon.methods.base import Decoder, Method
from bids_recon.methods.seeds import picture_seeds
from bids_recon.outputs.atomic import write_safetensors
from bids_recon.outputs.tensor_files import open_tensors
from bids_recon.report.films import EDGE
from bids_recon.report.pictures import thumbnail
from bids_recon.workflow.decoding import Decoded
from bids_recon.workflow.weight_hashes import weight_hashes

_PICTURE, _STEP = "picture", "step/"
# In place of a step that is the picture itself, as the last one often is.
_AS_PICTURE = np.empty(0, dtype=np.uint8)


class RememberedPictures(Method):
    """A method whose pictures are kept in the work folder, each under a hash of all it depends on.

    Parameters
    ----------
    method : Method
        As it was fitted.
    folder : Path
        Where pictures are kept.
    """

    def __init__(self, method: Method, folder: Path) -> None:
        super().__init__(method.options)
        self._method, self._folder = method, folder
        extra = dict(method.options.extra)
        # Pictures that are drawn, and then kept, at a time.
        self._at_once = int(extra.pop("batch_size", 1))
        described = {
            "version": bids_recon.__version__,
            "method": f"{type(method).__module__}.{type(method).__qualname__}",
            "options": extra | method.choices,
            "seed": method.options.seed,
            "spaces": {name: space.identity for name, space in method.latent_spaces.items()},
            "state": {
                name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in method.state().items()
            },
            "weights": weight_hashes(method),
        }
        text = json.dumps(described, sort_keys=True, default=str)
        self._key = hashlib.sha256(text.encode()).digest()

    def fit_latent_spaces(
        self,
        images: Sequence[Image],
        extra_images: Sequence[Image] = (),
        captions: Captions | None = None,
    ) -> None:
        """As the method does."""
        self._method.fit_latent_spaces(images, extra_images, captions)

    @property
    def latent_spaces(self) -> dict[str, LatentSpace]:
        """Those of the method."""
        return self._method.latent_spaces

    def encode(
        self, images: Sequence[Image], spaces: Sequence[str], captions: Captions | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """As the method does."""
        return self._method.encode(images, spaces, captions)

    def make_decoder(self, space: str) -> Decoder:
        """As the method does."""
        return self._method.make_decoder(space)

    def render(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> NDArray[np.uint8]:
        """Pictures of the method, drawn now or before."""
        return np.stack([_read(file)[_PICTURE] for file in self._files(latents, seeds)])

    def render_steps(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8], dict[int, NDArray[np.uint8]]]:
        """Pictures of the method and the steps to them, drawn now or before."""
        kept = [_read(file) for file in self._files(latents, seeds)]
        numbers = _numbers(kept[0])
        steps = {number: np.stack([_step(one, number) for one in kept]) for number in numbers}
        return np.stack([one[_PICTURE] for one in kept]), steps

    def thumbnails(
        self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64], edge: int
    ) -> list[dict[int, NDArray[np.uint8]]]:
        """Small versions of the steps to each picture, by number of iterations."""
        found = []
        for file in self._files(latents, seeds):
            kept = _read(file)
            found.append({number: thumbnail(_step(kept, number), edge) for number in _numbers(kept)})
        return found

    def _files(self, latents: Mapping[str, NDArray[np.floating]], seeds: NDArray[np.uint64]) -> list[Path]:
        """Files of pictures, each drawn now if it was not before."""

        def draw(rows: list[int]) -> tuple[NDArray[np.uint8], dict[int, NDArray[np.uint8]]]:
            return self._method.render_steps(
                {name: values[rows] for name, values in latents.items()}, seeds[rows]
            )

        keys = []
        for row, seed in enumerate(seeds):
            digest = hashlib.sha256(self._key + int(seed).to_bytes(8, "big"))
            for name in sorted(latents):
                digest.update(name.encode() + np.ascontiguousarray(latents[name][row]).tobytes())
            keys.append(digest.hexdigest())
        return self._drawn(keys, draw)

    def ceiling(
        self, images: Sequence[Image], seeds: NDArray[np.uint64], captions: Captions | None = None
    ) -> NDArray[np.uint8]:
        """Pictures of the method from true latents, drawn now or before."""

        def draw(rows: list[int]) -> tuple[NDArray[np.uint8], dict[int, NDArray[np.uint8]]]:
            own = None if captions is None else [captions[row] for row in rows]
            return self._method.ceiling([images[row] for row in rows], seeds[rows], own), {}

        keys = []
        for row, seed in enumerate(seeds):
            digest = hashlib.sha256(self._key + b"ceiling" + int(seed).to_bytes(8, "big"))
            digest.update(picture_hash(images[row]).encode())
            if captions is not None:
                digest.update(json.dumps(list(captions[row])).encode())
            keys.append(digest.hexdigest())
        return np.stack([_read(file)[_PICTURE] for file in self._drawn(keys, draw)])

    def state(self) -> dict[str, NDArray[Any]]:
        """That of the method."""
        return self._method.state()

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """As the method does."""
        self._method.load_state(state)

    def _drawn(
        self,
        keys: Sequence[str],
        draw: Callable[[list[int]], tuple[NDArray[np.uint8], dict[int, NDArray[np.uint8]]]],
    ) -> list[Path]:
        """Files of pictures by their keys; those that are missing are drawn."""
        files = [self._folder / f"{key}.safetensors" for key in keys]
        # Equal latents give equal pictures: one of them is drawn.
        first = {key: row for row, key in reversed(list(enumerate(keys)))}
        missing = [row for row in sorted(first.values()) if not _is_kept(files[row])]
        for start in range(0, len(missing), self._at_once):
            rows = missing[start : start + self._at_once]
            pictures, steps = draw(rows)
            for place, row in enumerate(rows):
                picture = pictures[place]
                named = {
                    f"{_STEP}{number}": _AS_PICTURE
                    if np.array_equal(frames[place], picture)
                    else frames[place]
                    for number, frames in steps.items()
                }
                write_safetensors(files[row], {_PICTURE: picture, **named})
        return files


def _read(file: Path) -> dict[str, NDArray[np.uint8]]:
    """A picture and its steps, in memory: a map of each of thousands of files would hold them open."""
    return {name: np.array(array) for name, array in open_tensors(file).items()}


def _step(kept: Mapping[str, NDArray[np.uint8]], number: int) -> NDArray[np.uint8]:
    """The picture after some iterations."""
    step = kept[f"{_STEP}{number}"]
    return step if step.size else kept[_PICTURE]


def _numbers(kept: Mapping[str, NDArray[np.uint8]]) -> list[int]:
    """Iterations of the steps that were kept, rising."""
    return sorted(int(name.removeprefix(_STEP)) for name in kept if name.startswith(_STEP))


def _is_kept(file: Path) -> bool:
    """Whether a picture was drawn before; one whose file is damaged is drawn again."""
    try:
        return _PICTURE in open_tensors(file)
    except (MissingInputError, DataError):
        return False


def steps_of_items(
    decoded: Decoded, methods: Mapping[str, Method], run_seed: int
) -> list[dict[int, NDArray[np.uint8]]]:
    """Thumbnails of each item after some of the iterations that led to it.

    Empty for a method that draws at once. The pictures have been drawn: they are only read here.
    """
    found: list[dict[int, NDArray[np.uint8]]] = []
    for fold in decoded.folds:
        method = methods[fold.name]
        if not isinstance(method, RememberedPictures):
            return []
        seeds = picture_seeds(run_seed, fold.items["stimulus_id"])
        found += method.thumbnails(fold.predicted, seeds, EDGE)
    return found if any(found) else []
