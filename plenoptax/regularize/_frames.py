from collections.abc import Callable
from typing import final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._function import AbstractFunction
from .._precision import in_single_precision
from .._types import Scalar
from ._pixels import allowed_range_of


@final
class SumOfFrames(AbstractFunction):
    """The sum of the penalties of several images, such as the frames of a path.

    Attributes:
        penalty_function: A function from an image to a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.regularize import penalize_range
        >>> print(SumOfFrames(penalize_range)(jnp.array([[[[2.0]]], [[[0.5]]], [[[-1.0]]]])))
        2.0
    """

    penalty_function: Callable

    @property
    def allowed_range(self) -> tuple[float, float] | None:
        """The range of pixel values that the penalty allows, as in `allowed_range_of`."""
        return allowed_range_of(self.penalty_function, 1.0)

    @in_single_precision("images")
    def __call__(self, images: Float[Array, "frame ..."]) -> Scalar:
        """Add the penalties of the images along the first axis."""
        return jnp.sum(jax.vmap(self.penalty_function)(images))
