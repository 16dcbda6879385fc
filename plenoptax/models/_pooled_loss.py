"""The default losses of models that average over windows."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._compiled import call_compiled
from ..data import get, PHOTOGRAPHS
from ..loss import ZScored
from ._windows import AbstractPoolingWindows


def natural_loss(
    model: Callable, windows: AbstractPoolingWindows, image: Array, groups: Sequence[str]
) -> ZScored:
    """Return the mean squared difference in units of `natural_deviation`."""
    deviation = natural_deviation(model, windows, image, groups)
    return ZScored(jnp.zeros_like(deviation), deviation)


def natural_deviation(
    model: Callable, windows: AbstractPoolingWindows, image: Array, groups: Sequence[str]
) -> Float[Array, "..."]:
    """Return a unit for each number of the representation: the spread over photographs.

    Each group of statistics has one unit, the root mean square of its standard deviations over the
    photographs of this package, so all groups have the same weight. A window has a weight in
    proportion to the pixels that it averages. Otherwise the many small windows would dominate: the
    curvature of the loss at a pixel would fall with the fourth power of the eccentricity, and
    pixels of the periphery would hardly move.

    Args:
        model: A model whose representation has the shape (channel, window, statistic), or (channel,
            window) if there is one statistic.
        windows: Its windows.
        image: An image of the size to expect; only its shape and dtype are used.
        groups: The group of each statistic.
    """
    *_, height, width = image.shape
    representations = []
    for name in PHOTOGRAPHS:
        photograph = jnp.asarray(_fit(np.asarray(get(name, as_gray=True)), (height, width)))
        representations.append(np.asarray(call_compiled(model, photograph.astype(image.dtype))))
    shape = (*image.shape[:-2], *representations[0].shape[1:])
    variances = np.var(representations, axis=0, ddof=1).reshape(windows.num_windows, -1)
    pixels = windows.effective_pixels / windows.effective_pixels.mean()
    means = (pixels[:, None] * variances).mean(0)
    names = np.asarray(groups)
    units = np.ones(len(names))
    for name in dict.fromkeys(groups):
        members = names == name
        share = members.sum() * len(set(groups)) / len(names)
        units[members] = np.sqrt(share * means[members].mean())
    deviation = units / np.sqrt(pixels)[:, None]
    deviation = np.broadcast_to(deviation.reshape(representations[0].shape[1:]), shape)
    return jnp.asarray(deviation, image.dtype)


def _fit(
    photograph: Float[np.ndarray, "channel height width"], shape: tuple[int, int]
) -> Float[np.ndarray, "channel rows columns"]:
    """Return the upper left part of a photograph, which is reflected at its borders if needed."""
    missing = [
        max(wanted - size, 0) for wanted, size in zip(shape, photograph.shape[1:], strict=True)
    ]
    padded = np.pad(photograph, ((0, 0), (0, missing[0]), (0, missing[1])), "symmetric")
    return padded[:, : shape[0], : shape[1]]
