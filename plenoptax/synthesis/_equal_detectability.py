from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._rules import checked, POSITIVE
from .._tree import flatten_real
from .._types import Scalar
from ..linalg import AbstractNoise
from ._comparison import check_models
from ._eigendistortions_result import Eigendistortions


class Detectability(NamedTuple):
    """Scale factors at which a model finds all eigendistortions equally visible.

    Attributes:
        alpha: The factors of the eigendistortions.
        predicted: The detectability at these factors that the linearized model predicts:
            ``d_prime``, or less if alpha is only a bound.
        measured: The length of the change of the response, in units of its noise at the image: the
            smaller and the larger of the two signs.
        is_linear: Whether both are within 5 % of the prediction.
        is_bound: Whether the eigenvalue is not above the floor. Alpha is then only a lower bound on
            the true factor.
    """

    alpha: Float[np.ndarray, " k"]
    predicted: Float[np.ndarray, " k"]
    measured: Float[np.ndarray, "k 2"]
    is_linear: Bool[np.ndarray, " k"]
    is_bound: Bool[np.ndarray, " k"]


@checked(d_prime=POSITIVE)
def equal_detectability(
    found: Eigendistortions,
    model: Callable,
    d_prime: float = 1.0,
    *,
    noise: AbstractNoise | None = None,
) -> Detectability:
    """Scale eigendistortions so that the model predicts one detectability for all of them.

    The linearized model predicts ``d' = alpha sqrt(l)``; the model itself checks this prediction.

    Args:
        found: The eigendistortions.
        model: The model that they were computed for.
        d_prime: The desired detectability.
        noise: The noise that they were computed with.

    Returns:
        The factors, and whether to trust them.

    Raises:
        ValueError: If `d_prime` is not positive, or the model cannot be used; see
            `plenoptax.validate`.

    Example:
        >>> import plenoptax as plx
        >>> image, model = plx.data.brick()[:, :32, :32], plx.models.Gaussian(7)
        >>> found = plx.eigendistortions(image, model, progress=False)
        >>> scales = plx.equal_detectability(found, model, 0.1)
        >>> scales.is_linear.tolist()
        [True, True]
    """
    check_models(found.image, model)
    is_bound = found.eigenvalues <= found.floor
    alpha = d_prime / np.sqrt(np.maximum(found.eigenvalues, found.floor))
    predicted = alpha * np.sqrt(found.eigenvalues)
    steps = [
        _change(model, noise, found.image, found.eigendistortions, jnp.asarray(sign * alpha))
        for sign in (-1.0, 1.0)
    ]
    measured = np.sort(np.asarray(jnp.stack(steps, axis=1), np.float64), axis=1)
    is_near = np.asarray(np.abs(measured - predicted[:, None]) <= 0.05 * d_prime)
    is_linear = np.asarray(is_near.all(axis=1))
    return Detectability(alpha, predicted, measured, is_linear, is_bound)


@eqx.filter_jit
def _change(
    model: Callable, noise: AbstractNoise | None, image: Array, directions: Array, alpha: Array
) -> Float[Array, " k"]:
    center = flatten_real(model(image), image.dtype)

    def one(direction: Array, factor: Scalar) -> Scalar:
        moved = model(image + factor.astype(image.dtype) * direction)
        response = flatten_real(moved, image.dtype)
        if noise is not None:
            difference = noise.coordinates(response, center) - noise.coordinates(center, center)
        else:
            difference = response - center
        return jnp.linalg.norm(difference)

    return jax.vmap(one)(directions, alpha)
