from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._rules import checked, NOT_NEGATIVE, NUMBER, SIZES


@checked(size=SIZES, exponent=NUMBER, origin=NUMBER)
def polar_radius(
    size: int | Sequence[int],
    exponent: int | float = 1,
    origin: int | float | Sequence[int | float] | None = None,
) -> Float[Array, "height width"]:
    """Compute the distance of every pixel from a point, raised to a power.

    Args:
        size: Height and width in pixels, or one number for both.
        exponent: The power. If it is negative, the value at the origin is 0 instead of infinite, as
            usual for 1/f spectra.
        origin: Row and column of the point, or one number for both. The first pixel is at 1.
            Default: the center, ``(size + 1) / 2``.

    Example:
        >>> from plenoptax.process import polar_radius
        >>> polar_radius((1, 5))
        Array([[2., 1., 0., 1., 2.]], dtype=float32)
    """
    radius = np.hypot(*_ramps(size, origin))
    powers = np.where(radius > 0, radius, 1.0) ** exponent
    return jnp.asarray(np.where((radius > 0) | (exponent == 0), powers, 0.0))


@checked(size=SIZES, phase=NUMBER, origin=NUMBER)
def polar_angle(
    size: int | Sequence[int],
    phase: int | float = 0,
    origin: int | float | Sequence[int | float] | None = None,
    direction: Literal["clockwise", "counter-clockwise"] = "clockwise",
) -> Float[Array, "height width"]:
    """Compute the angle of every pixel around a point, in radians in [-pi, pi).

    Args:
        size: Height and width in pixels, or one number for both.
        phase: Direction of angle zero, in radians from the axis that points right.
        origin: Row and column of the point, or one number for both. The first pixel is at 1. The
            first row is the top row, or the bottom row if counter-clockwise. Default: the center.
        direction: The direction in which angles increase on the screen, where rows go down.

    Raises:
        ValueError: If the direction is neither of the two.

    Example:
        >>> from plenoptax.process import polar_angle
        >>> polar_angle((3, 1))[:, 0]
        Array([-1.5707964,  0.       ,  1.5707964], dtype=float32)
    """
    if direction not in ("clockwise", "counter-clockwise"):
        raise ValueError(
            f"direction must be 'clockwise' or 'counter-clockwise', got {direction!r}."
        )
    down, right = _ramps(size, origin)
    if direction == "counter-clockwise":
        down = down[::-1]
    angle = np.arctan2(down, right)
    return jnp.asarray((angle + (np.pi - phase)) % (2 * np.pi) - np.pi)


@checked(img_size=SIZES, outer_radius=NOT_NEGATIVE, inner_radius=NOT_NEGATIVE)
def disk(
    img_size: int | Sequence[int],
    outer_radius: int | float | None = None,
    inner_radius: int | float | None = None,
) -> Float[Array, "height width"]:
    """Make a circular mask with a soft edge, 1 inside and 0 outside.

    Args:
        img_size: Height and width in pixels, or one number for both.
        outer_radius: Distance from the center, in pixels, beyond which the mask is 0. Default: the
            distance of the nearest border.
        inner_radius: Distance up to which the mask is 1. A raised cosine joins the two radii.
            Default: half of ``outer_radius``. If the radii are equal, the edge is hard.

    Raises:
        ValueError: If a radius is negative, or the inner radius is larger than the outer one.

    Example:
        >>> from plenoptax.process import disk
        >>> disk((1, 9), outer_radius=4, inner_radius=2)
        Array([[0. , 0.5, 1. , 1. , 1. , 1. , 1. , 0.5, 0. ]], dtype=float32)
    """
    height, width = _pair(img_size)
    outer = (min(height, width) - 1) / 2 if outer_radius is None else outer_radius
    inner = outer / 2 if inner_radius is None else inner_radius
    if inner > outer:
        raise ValueError(
            f"inner_radius must not be larger than outer_radius, got {inner:g} and {outer:g}."
        )
    radius = np.hypot(*_ramps((height, width), None))
    slope = max(outer - inner, np.finfo(np.float64).tiny)
    with np.errstate(over="ignore"):
        decay = np.clip((radius - inner) / slope, 0, 1)
    return jnp.asarray((1 + np.cos(np.pi * decay)) / 2)


def _pair(value: int | float | Sequence) -> tuple:
    return tuple(value) if isinstance(value, Sequence) else (value, value)


def _ramps(
    size: int | Sequence[int], origin: int | float | Sequence[int | float] | None
) -> tuple[np.ndarray, np.ndarray]:
    height, width = _pair(size)
    row, column = _pair(((height + 1) / 2, (width + 1) / 2) if origin is None else origin)
    down = np.arange(1, height + 1)[:, None] - row
    right = np.arange(1, width + 1)[None, :] - column
    return np.broadcast_to(down, (height, width)), np.broadcast_to(right, (height, width))
