import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._answers import cites
from .._precision import in_single_precision
from .._rules import checked, NOT_NEGATIVE, POSITIVE
from .._types import Scalar
from ._pair import as_pair, keep_within
from ._ssim import ssim_parts, warn_of_small_windows


# From the matches between scales by the observers of Wang, Simoncelli and Bovik (2003).
_POWER_FACTORS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


_CITATION = """@inproceedings{wang2003multiscale,
  author = {Wang, Zhou and Simoncelli, Eero P. and Bovik, Alan C.},
  title = {Multiscale Structural Similarity for Image Quality Assessment},
  booktitle = {Asilomar Conference on Signals, Systems and Computers},
  volume = {2}, pages = {1398--1402}, year = {2003},
  doi = {10.1109/ACSSC.2003.1292216}
}"""


@cites(_CITATION)
@checked(power_factors=NOT_NEGATIVE, data_range=POSITIVE, floor=NOT_NEGATIVE)
@in_single_precision("img1", "img2")
def ms_ssim(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    power_factors: ArrayLike | list[float] | None = None,
    *,
    data_range: int | float | Scalar = 1.0,
    floor: float = 0.0,
) -> Scalar:
    """Compute the multiscale structural similarity index, averaged over channels.

    At each scale, contrast and structure are compared as in ``ssim``; at the coarsest scale,
    luminance is compared too. The averages over space are raised to ``power_factors`` and
    multiplied (Wang, Simoncelli and Bovik, "Multiscale structural similarity for image quality
    assessment", Asilomar Conference 2003). Each scale is the previous one, averaged over blocks of
    2 x 2 pixels. The index is 1 for equal images, and with one scale it is ``ssim``.

    An average below zero, as for an image and its negative, has no real power and counts as 0. The
    index and its gradient are then 0, so an optimizer that starts there stays there. A positive
    ``floor`` avoids this.

    Args:
        img1: An image, with values from 0 to ``data_range``.
        img2: Another image of the same height, width and dtype, and the same number of channels. An
            image of one channel is compared with every channel of the other.
        power_factors: Exponents from fine to coarse, one for each scale. By default those of five
            scales that the paper measured, which add up to 1.
        data_range: The largest value that a pixel can have.
        floor: An average ``m`` below this value counts as ``floor**2 / (2 * floor - m)``, which is
            positive, continues the identity smoothly and increases with ``m``. So the index stays
            positive, with a gradient that points toward the other image. Averages above ``floor``,
            and so the index of images that are somewhat similar, do not change. 0.05 is a good
            value.

    Raises:
        ValueError: If the shapes are wrong or do not fit, ``power_factors`` is not a sequence of
            one number or more, ``floor`` is negative, or ``data_range`` is not positive.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If a value lies outside [0, data_range], which is not checked under a
            transformation of JAX; or if the coarsest scale is smaller than 11 pixels, the window
            of ``ssim``. The window is then as large as the smaller side.

    Example:
        >>> import plenoptax as plx
        >>> brick, grass = plx.data.brick(), plx.data.grass()
        >>> print(f"{ms_ssim(brick, 0.9 * brick):.4f}")
        0.9949
        >>> print(ms_ssim(brick, 1 - brick))
        0.0
        >>> bool(ms_ssim(brick, 1 - brick, floor=0.05) > 0)
        True
    """
    return _checked_ms_ssim(img1, img2, power_factors, data_range, floor)


@cites(_CITATION)
@checked(power_factors=NOT_NEGATIVE, data_range=POSITIVE, floor=NOT_NEGATIVE)
@in_single_precision("img1", "img2")
def ms_ssim_distance(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    power_factors: ArrayLike | list[float] | None = None,
    *,
    data_range: int | float | Scalar = 1.0,
    floor: float = 0.0,
) -> Scalar:
    """Compute ``1 - ms_ssim``: 0 for equal images, and larger for different ones, to at most 1.

    Args:
        img1: An image, with values from 0 to ``data_range``.
        img2: Another image that fits it, as in ``ms_ssim``.
        power_factors: Exponents from fine to coarse, as in ``ms_ssim``.
        data_range: The largest value that a pixel can have.
        floor: Averages below this value are raised above 0, as in ``ms_ssim``.

    Raises:
        ValueError: If an argument is out of range or the shapes do not fit, as in ``ms_ssim``.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If values lie outside [0, data_range] or a scale is small, as in ``ms_ssim``.

    Example:
        >>> import plenoptax as plx
        >>> print(ms_ssim_distance(plx.data.brick(), 1 - plx.data.brick()))
        1.0
    """
    return 1 - _checked_ms_ssim(img1, img2, power_factors, data_range, floor)


def _checked_ms_ssim(
    img1: Array,
    img2: Array,
    power_factors: ArrayLike | list[float] | None,
    data_range: int | float | Scalar,
    floor: float,
) -> Scalar:
    first, second = as_pair(img1, img2, data_range, stacklevel=5)
    powers = _POWER_FACTORS if power_factors is None else power_factors
    powers = jnp.asarray(powers, first.dtype)
    if powers.ndim != 1 or not powers.size:
        raise ValueError(
            "power_factors must be a sequence of one number for each scale, got shape "
            f"{powers.shape}."
        )
    halvings = powers.size - 1
    warn_of_small_windows([-(-size // 2**halvings) for size in first.shape[-2:]], stacklevel=5)
    return _ms_ssim(first, second, powers, jnp.asarray(data_range, first.dtype), floor)


@functools.partial(jax.jit, static_argnames="floor")
def _ms_ssim(img1: Array, img2: Array, powers: Array, data_range: Scalar, floor: float) -> Scalar:
    product = jnp.ones(img1.shape[0], img1.dtype)
    for scale, power in enumerate(powers):
        if scale:
            img1, img2 = _halve(img1), _halve(img2)
        index, contrast_structure, _ = ssim_parts(img1, img2, data_range)
        compared = index if scale == powers.size - 1 else contrast_structure
        average = compared.mean((-2, -1))
        if floor:
            # Where the average is above the floor, the denominator could be zero or negative.
            distance = jnp.maximum(2 * floor - average, floor)
            average = jnp.where(average < floor, floor**2 / distance, average)
        # A power of 0 has no finite slope. Only 0 to the power of 0 is 1.
        is_positive = average > jnp.finfo(average.dtype).tiny
        factor = jnp.where(is_positive, average, 1) ** power
        product = product * jnp.where(is_positive | (power == 0), factor, 0)
    return keep_within(product.mean(), 0.0, 1.0)


def _halve(image: Float[Array, "channel height width"]) -> Float[Array, "channel rows columns"]:
    height, width = image.shape[-2:]
    image = jnp.pad(image, [(0, 0), (0, height % 2), (0, width % 2)], mode="edge")
    rows = image[..., ::2, :] + image[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4
