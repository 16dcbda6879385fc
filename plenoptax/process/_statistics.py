from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._precision import in_single_precision
from .._rules import checked, Whole


Axes: TypeAlias = int | Sequence[int] | None
Moment: TypeAlias = Float[Array, "..."] | float | int | None


@checked(dim=Whole(several=True))
@in_single_precision("x")
def variance(
    x: Float[Array, "..."], mean: Moment = None, dim: Axes = None, keepdim: bool = False
) -> Float[Array, "..."]:
    """Mean squared deviation, divided by the number of values, not by one less.

    Args:
        x: Values.
        mean: Mean to deviate from, broadcast with ``x``. Default: that of ``x``.
        dim: Axis or axes to reduce. Default: all.
        keepdim: Keep the reduced axes, with size 1.

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
    """Third standardized moment, the asymmetry of a distribution: 0 for a Gaussian.

    Values that do not vary, or only by rounding, have a skew of 0, with a gradient of zero.

    Args:
        x: Values.
        mean: Mean to deviate from, broadcast with ``x``. Default: that of ``x``.
        var: Variance to divide by, with or without the reduced axes. Default: that of ``x``.
        dim: Axis or axes to reduce. Default: all.
        keepdim: Keep the reduced axes, with size 1.

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
    """Fourth standardized moment, the weight of the tails: 3 for a Gaussian, 1.8 for a uniform.

    Values that do not vary, or only by rounding, have a kurtosis of 3, with a gradient of zero.

    Args:
        x: Values.
        mean: Mean to deviate from, broadcast with ``x``. Default: that of ``x``.
        var: Variance to divide by, with or without the reduced axes. Default: that of ``x``.
        dim: Axis or axes to reduce. Default: all.
        keepdim: Keep the reduced axes, with size 1.

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
    if var is None:
        var = jnp.mean(deviation**2, axes, keepdims=True)
    elif axes is not None and jnp.ndim(var) not in (0, x.ndim):
        var = jnp.expand_dims(jnp.asarray(var), axes)
    var = jnp.asarray(var, x.dtype)
    # Deviations within a few units in the last place of the values say nothing about them.
    rounding = (4 * jnp.finfo(x.dtype).eps) ** 2 * jnp.mean(x**2, axes, keepdims=True)
    varies = var > rounding
    standardized = deviation / jnp.sqrt(jnp.where(varies, var, 1))
    moment = jnp.mean(standardized**power, axes, keepdims=True)
    moment = jnp.where(varies, moment, degenerate)
    return moment if keepdim else jnp.squeeze(moment, axes)


@checked(dim=Whole(several=True))
def maximum(x: Float[Array, "..."], dim: Axes = None, keepdim: bool = False) -> Float[Array, "..."]:
    """The largest value over one axis, several or all.

    Args:
        x: Values.
        dim: Axis or axes to reduce. Default: all.
        keepdim: Keep the reduced axes, with size 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import maximum
        >>> maximum(jnp.arange(8.0).reshape(2, 2, 2), dim=(0, 2))
        Array([5., 7.], dtype=float32)
    """
    return jnp.max(x, _axes(dim), keepdims=keepdim)


@checked(dim=Whole(several=True))
def minimum(x: Float[Array, "..."], dim: Axes = None, keepdim: bool = False) -> Float[Array, "..."]:
    """The smallest value over one axis, several or all.

    Args:
        x: Values.
        dim: Axis or axes to reduce. Default: all.
        keepdim: Keep the reduced axes, with size 1.

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
    # Summing many values is off by many roundings; the mean of what is left corrects that.
    return deviation - jnp.mean(deviation, axes, keepdims=True)


def _axes(dim: Axes) -> int | tuple[int, ...] | None:
    return dim if dim is None or isinstance(dim, int) else tuple(dim)
