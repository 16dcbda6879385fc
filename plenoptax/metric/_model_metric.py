from collections.abc import Callable
from typing import final

import equinox as eqx
import jax.numpy as jnp

from .._function import AbstractFunction
from .._precision import in_single_precision
from .._rules import checked, NOT_NEGATIVE
from .._safe import safe_sqrt
from .._types import PyTree, Scalar
from ..loss import mse


@final
class ModelMetric(AbstractFunction):
    """The root mean squared difference between the representations of two images in a model.

    Attributes:
        model: A function from an image to an array, or to a tree of arrays in which every value
            counts the same.
        epsilon: Added to the mean square.

    Example:
        >>> import jax.numpy as jnp
        >>> import plenoptax as plx
        >>> metric = ModelMetric(plx.models.Identity())
        >>> print(f"{metric(jnp.zeros((1, 4, 4)), jnp.full((1, 4, 4), 0.5)):.4f}")
        0.5000
    """

    model: Callable
    epsilon: float = eqx.field(static=True, default=1e-10, converter=NOT_NEGATIVE.of("epsilon"))

    def __call__(self, img1: PyTree, img2: PyTree) -> Scalar:
        """Compare two images.

        Args:
            img1: An input of the model, usually an image.
            img2: Another input.

        Raises:
            ValueError: If the representations differ in structure or shape.
            TypeError: If they are not of floating point.
        """
        return _distance(self.model(img1), self.model(img2), self.epsilon)


@in_single_precision("first", "second")
def _distance(first: PyTree, second: PyTree, epsilon: float) -> Scalar:
    mean_square = mse(first, second)
    return safe_sqrt(mean_square + jnp.asarray(epsilon, mean_square.dtype))


@checked(epsilon=NOT_NEGATIVE)
def model_metric_factory(model: Callable, *, epsilon: float = 1e-10) -> ModelMetric:
    """Make a metric from a model: the distance between two images in its representation.

    Args:
        model: Any callable of one image, as everywhere in this package.
        epsilon: Added to the mean square, to keep the gradient finite at equal images. Their
            distance is therefore ``sqrt(epsilon)``.

    Returns:
        A function of two images. It holds the model, so its parameters are those of the model.

    Raises:
        TypeError: If the model cannot be called.

    Example:
        >>> import plenoptax as plx
        >>> metric = model_metric_factory(plx.models.Gaussian(31, std=10.0))
        >>> brick, grass = plx.data.brick(), plx.data.grass()
        >>> print(f"{metric(brick, grass):.4f}, {metric(brick, brick):.0e}")
        0.0518, 1e-05
    """
    if not callable(model):
        raise TypeError(f"model must be callable, got {type(model).__name__}.")
    return ModelMetric(model, epsilon)
