from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._precision import in_single_precision
from .._rules import checked, Whole
from .._scale import power_of_two


Axes: TypeAlias = int | Sequence[int] | None
Moment: TypeAlias = Float[Array, "..."] | float | int | None


@checked(dim=Whole(several=True))
@in_single_precision("x")
def variance(
    x: Float[Array, "..."], mean: Moment = None, dim: Axes = None, keepdim: bool = False
) -> Float[Array, "..."]:
    """Compute the variance, divided by the number of values instead of one less.

    Args:
        x: Values.
        mean: Mean to subtract, broadcast with ``x``. Default: the mean of ``x``.
        dim: Axis or axes to reduce. Default: all.
        keepdim: Whether to keep the reduced axes, with size 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import variance
        >>> variance(jnp.asarray([1.0, 3.0, 5.0, 7.0]))
        Array(5., dtype=float32)
    """
    axes = _axes(dim)
    return jnp.mean(_deviation(x, mean, axes) ** 2, axes, keepdims=keepdim)


@checked(dim=Whole(several=True))
@in_single_precision("x")
def skew(
    x: Float[Array, "..."],
    mean: Moment = None,
    var: Moment = None,
    dim: Axes = None,
    keepdim: bool = False,
) -> Float[Array, "..."]:
    """Compute the third standardized moment, the asymmetry of a distribution: 0 for a Gaussian.

    Values that are constant, up to rounding, have a skew of 0 with a gradient of zero.

    Args:
        x: Values.
        mean: Mean to subtract, broadcast with ``x``. Default: the mean of ``x``.
        var: Variance to divide by, with or without the reduced axes. Default: the variance of
            ``x``.
        dim: Axis or axes to reduce. Default: all.
        keepdim: Whether to keep the reduced axes, with size 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import skew
        >>> float(skew(jnp.asarray([1.0, 1.0, 1.0, 9.0]))) > 1
        True
    """
    return _standardized_moment(x, 3, 0, mean, var, dim, keepdim)


@checked(dim=Whole(several=True))
@in_single_precision("x")
def kurtosis(
    x: Float[Array, "..."],
    mean: Moment = None,
    var: Moment = None,
    dim: Axes = None,
    keepdim: bool = False,
) -> Float[Array, "..."]:
    """Compute the fourth standardized moment, the weight of the tails.

    It is 3 for a Gaussian and 1.8 for a uniform distribution. Values that are constant, up to
    rounding, have a kurtosis of 3 with a gradient of zero.

    Args:
        x: Values.
        mean: Mean to subtract, broadcast with ``x``. Default: the mean of ``x``.
        var: Variance to divide by, with or without the reduced axes. Default: the variance of
            ``x``.
        dim: Axis or axes to reduce. Default: all.
        keepdim: Whether to keep the reduced axes, with size 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import kurtosis
        >>> kurtosis(jnp.asarray([-1.0, 1.0]))
        Array(1., dtype=float32)
    """
    return _standardized_moment(x, 4, 3, mean, var, dim, keepdim)


def _standardized_moment(
    x: Array, power: int, degenerate: int, mean: Moment, var: Moment, dim: Axes, keepdim: bool
) -> Array:
    axes = _axes(dim)
    deviation = _deviation(x, mean, axes)
    largest = jnp.max(jnp.abs(deviation), axes, keepdims=True)
    # For smaller deviations the gradient, a sum over all values, might be infinite.
    is_usable = largest > x.size * jnp.finfo(x.dtype).tiny
    scale = jnp.where(is_usable, power_of_two(largest), 1)
    if var is None:
        var = jnp.mean((deviation / scale) ** 2, axes, keepdims=True)
    else:
        if axes is not None and jnp.ndim(var) not in (0, x.ndim):
            var = jnp.expand_dims(jnp.asarray(var), axes)
        var = jnp.asarray(var, x.dtype)
        # A variance below the smallest normal number has lost its digits and is unusable too.
        is_usable = is_usable & (var > x.size * jnp.finfo(x.dtype).tiny)
        var = jnp.where(is_usable, var, 0) / scale / scale
    # Deviations of a few units in the last place of the values are rounding errors.
    rounding = (4 * jnp.finfo(x.dtype).eps) ** 2 * jnp.mean((x / scale) ** 2, axes, keepdims=True)
    varies = var > rounding
    standardized = deviation / scale / jnp.sqrt(jnp.where(varies, var, 1))
    moment = jnp.mean(standardized**power, axes, keepdims=True)
    moment = jnp.where(varies, moment, degenerate)
    return moment if keepdim else jnp.squeeze(moment, axes)


@checked(dim=Whole(several=True))
def maximum(x: Float[Array, "..."], dim: Axes = None, keepdim: bool = False) -> Float[Array, "..."]:
    """Return the largest value over one axis, several or all.

    Args:
        x: Values.
        dim: Axis or axes to reduce. Default: all.
        keepdim: Whether to keep the reduced axes, with size 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import maximum
        >>> maximum(jnp.arange(8.0).reshape(2, 2, 2), dim=(0, 2))
        Array([5., 7.], dtype=float32)
    """
    return jnp.max(x, _axes(dim), keepdims=keepdim)


@checked(dim=Whole(several=True))
def minimum(x: Float[Array, "..."], dim: Axes = None, keepdim: bool = False) -> Float[Array, "..."]:
    """Return the smallest value over one axis, several or all.

    Args:
        x: Values.
        dim: Axis or axes to reduce. Default: all.
        keepdim: Whether to keep the reduced axes, with size 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import minimum
        >>> minimum(jnp.arange(8.0).reshape(2, 2, 2), dim=(0, 2))
        Array([0., 2.], dtype=float32)
    """
    return jnp.min(x, _axes(dim), keepdims=keepdim)


def _deviation(x: Array, mean: Moment, axes: int | tuple[int, ...] | None) -> Array:
    if mean is not None:
        return x - mean
    deviation = x - jnp.mean(x, axes, keepdims=True)
    # A sum of many values adds up rounding errors; subtracting the remaining mean corrects them.
    return deviation - jnp.mean(deviation, axes, keepdims=True)


def _axes(dim: Axes) -> int | tuple[int, ...] | None:
    return dim if dim is None or isinstance(dim, int) else tuple(dim)
