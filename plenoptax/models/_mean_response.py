from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .._function import AbstractFunction
from .._precision import in_single_precision
from .._rules import checked, Whole
from .._types import PyTree


@final
class MeanResponse(AbstractFunction):
    """The mean response of a stochastic model over fixed random keys.

    Methods of synthesis need a model that returns the same response at each call. The mean over
    ``n`` keys differs from the expected response by about ``1 / sqrt(n)`` of the standard deviation
    of the model. A synthesis can fit the noise of the fixed keys, so `Result.report` evaluates the
    image with fresh keys: it succeeds only if the error is as small as that between two sets of
    keys at the target.

    Attributes:
        model: A function of an image and the keyword-only argument ``key``.
        keys: The keys.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def noisy(image, *, key):
        ...     return image + jax.random.normal(key, image.shape)
        >>> model = MeanResponse(noisy, jax.random.split(jax.random.key(0), 100))
        >>> print(f"{jnp.std(model(jnp.zeros((1, 16, 16)))):.2f}")
        0.10
    """

    model: Callable
    keys: Key[Array, " draw"]

    def __init__(self, model: Callable, keys: Key[Array, " draw"]):
        """Choose the keys.

        Args:
            model: A function of an image and the keyword-only argument ``key`` that returns an
                array or a tree of arrays.
            keys: Keys such as ``jax.random.split(jax.random.key(0), 32)``. They are evaluated
                together, so memory grows with their number.

        Raises:
            TypeError: If the model is not callable, or ``keys`` is not an array of keys.
        """
        if not callable(model):
            raise TypeError(f"model must be callable, got {type(model).__name__}.")
        is_typed = eqx.is_array(keys) and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
        if not is_typed or keys.ndim != 1 or keys.size == 0:
            raise TypeError(
                "keys must be an array of keys, such as jax.random.split(jax.random.key(0), 32), "
                f"got {keys!r}."
            )
        self.model = model
        self.keys = keys

    @in_single_precision("image")
    def __call__(self, image: Array) -> PyTree:
        """Return the mean response to an image."""
        responses = jax.vmap(lambda key: self.model(image, key=key))(self.keys)
        return jax.tree.map(lambda response: jnp.mean(response, axis=0), responses)

    @checked(number=Whole(0))
    def with_fresh_keys(self, number: int) -> "MeanResponse":
        """Return the same model with other keys, for the report.

        Args:
            number: The number of the set of keys. Each number gives another set.
        """
        fresh = jax.vmap(lambda key: jax.random.fold_in(key, number))(self.keys)
        return MeanResponse(self.model, fresh)
