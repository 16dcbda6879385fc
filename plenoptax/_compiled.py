from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array

from ._types import PyTree


@eqx.filter_jit
def represent(model: Callable, image: Array) -> PyTree:
    """A model's representation of an image, by one compiled program for all who ask for it."""
    return model(image)
