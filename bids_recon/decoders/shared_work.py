"""What several fits on the same responses have in common, computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from numpy.typing import ArrayLike

Made = TypeVar("Made")
# Results that are kept; shuffles of the floor would otherwise leave their folds behind, one after the other.
MOST_KEPT = 12


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
        self._made: OrderedDict[Hashable, Any] = OrderedDict()

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

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Find a result, or make it and keep it; what was not asked for the longest time goes.

        The key names what is made and every setting that it depends on.
        """
        if key not in self._made:
            self._made[key] = make()
        self._made.move_to_end(key)
        if len(self._made) > MOST_KEPT:
            self._made.popitem(last=False)
        found: Made = self._made[key]
        return found
