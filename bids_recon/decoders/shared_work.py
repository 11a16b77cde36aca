"""What several fits on the same responses have in common, computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from numpy.typing import ArrayLike

Made = TypeVar("Made")


class SharedWork:
    """Results that depend on training responses alone: factors, Gram matrices, moments.

    Latent spaces are decoded from the same responses. Give the same `SharedWork` to the `fit` of each
    decoder, and what one has computed the next finds.

    Parameters
    ----------
    X : array (n_trials, n_voxels)
        The responses. Every fit has to be given this very object.
    """

    def __init__(self, X: ArrayLike) -> None:
        self._X = X
        self._made: dict[Hashable, Any] = {}
        self._trunk: SharedWork | None = None

    @classmethod
    def of(cls, X: ArrayLike, given: SharedWork | None) -> SharedWork:
        """Take the one given, if it belongs to these responses, or make one.

        Raises
        ------
        ValueError
            When the one given belongs to another array.
        """
        if given is None:
            return cls(X)
        if given._X is not X:
            raise ValueError("the shared work belongs to other responses than those of this fit")
        return given

    def branch(self) -> SharedWork:
        """Work that finds all that is here, and whose own results go with it: for a shuffle of the floor."""
        branch = SharedWork(self._X)
        branch._trunk = self
        return branch

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Find a result, or make it and keep it.

        The key names what is made and every setting that it depends on.
        """
        work: SharedWork | None = self
        while work is not None:
            if key in work._made:
                earlier: Made = work._made[key]
                return earlier
            work = work._trunk
        made = self._made[key] = make()
        return made
