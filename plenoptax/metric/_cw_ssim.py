import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._answers import cites
from .._precision import in_single_precision
from .._rules import checked, COUNT, NOT_NEGATIVE, POSITIVE, Whole
from .._safe import safe_sqrt
from .._types import Scalar
from ..process import correlate_separable, SteerablePyramidFreq
from ._pair import as_luminance_pair, keep_within


_WINDOW_SIZE = 7


_CITATION = """@article{sampat2009complex,
  author = {Sampat, Mehul P. and Wang, Zhou and Gupta, Shalini and Bovik, Alan Conrad and
            Markey, Mia K.},
  title = {Complex Wavelet Structural Similarity: A New Image Similarity Index},
  journal = {IEEE Transactions on Image Processing},
  volume = {18}, number = {11}, pages = {2385--2401}, year = {2009},
  doi = {10.1109/TIP.2009.2025923}
}"""


@cites(_CITATION)
@checked(level=COUNT, orientations=Whole(2), stabilizer=NOT_NEGATIVE, data_range=POSITIVE)
@in_single_precision("img1", "img2")
def cw_ssim(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    *,
    level: int = 4,
    orientations: int = 8,
    stabilizer: float = 1.0,
    data_range: int | float | Scalar = 1.0,
) -> Scalar:
    """Compute the complex wavelet structural similarity index of two images, from 0 to 1.

    The coefficients of one scale of a complex steerable pyramid are compared in windows of 7 x 7:
    the magnitude of their correlation, relative to their energies. A small translation or rotation
    changes the phases of a window together, which leaves this magnitude as it is (Sampat, Wang,
    Gupta, Bovik and Markey, "Complex wavelet structural similarity: a new image similarity index",
    IEEE Trans. Image Process. 2009). The average over windows has Gaussian weights, largest
    in the middle of the image. The index is 1 for equal images. To minimize, use
    ``cw_ssim_distance``. Of color images the luminance is compared, the Y of YIQ.

    Args:
        img1: An image of one or three channels, with values from 0 to ``data_range``. Its shorter
            side has at least ``2**(level + 2)`` pixels.
        img2: Another image of the same height, width and dtype.
        level: The scale of the pyramid, from 1, the finest. The default suits images of 64 pixels
            and more; the paper uses up to 6.
        orientations: The number of orientations, from 2 to 16.
        stabilizer: The constant K of the paper, in units of the authors' program, which has pixels
            from 0 to 255 and values that grow fourfold from scale to scale. The program has 0, and
            then the index of windows without contrast consists of rounding errors. The default of 1
            is far below the energy of a pattern that can be seen.
        data_range: The largest value that a pixel can have.

    Raises:
        ValueError: If the shapes are wrong or do not fit, the images are too small for the level,
            or an argument is out of range.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If a value lies outside [0, data_range], which is not checked under a
            transformation of JAX.

    Example:
        >>> import jax.numpy as jnp
        >>> import plenoptax as plx
        >>> brick, grass = plx.data.brick(), plx.data.grass()
        >>> print(f"{cw_ssim(brick, grass):.4f}, {cw_ssim(brick, jnp.roll(brick, 1, -1)):.4f}")
        0.2442, 0.9980
    """
    pair = as_luminance_pair(img1, img2, data_range, stacklevel=4)
    return 1 - _cw_ssim_distance(*pair, level, orientations, stabilizer)


@cites(_CITATION)
@checked(level=COUNT, orientations=Whole(2), stabilizer=NOT_NEGATIVE, data_range=POSITIVE)
@in_single_precision("img1", "img2")
def cw_ssim_distance(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    *,
    level: int = 4,
    orientations: int = 8,
    stabilizer: float = 1.0,
    data_range: int | float | Scalar = 1.0,
) -> Scalar:
    """Compute ``1 - cw_ssim``: 0 for equal images, and larger for different ones, to at most 1.

    Args:
        img1: An image of one or three channels, with values from 0 to ``data_range``.
        img2: Another image that fits it, as in ``cw_ssim``.
        level: The scale of the pyramid, from 1, as in ``cw_ssim``.
        orientations: The number of orientations, from 2 to 16.
        stabilizer: The constant K of the paper, as in ``cw_ssim``.
        data_range: The largest value that a pixel can have.

    Raises:
        ValueError: If an argument is out of range or the shapes do not fit, as in ``cw_ssim``.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If values lie outside [0, data_range], as in ``cw_ssim``.

    Example:
        >>> import plenoptax as plx
        >>> print(f"{cw_ssim_distance(plx.data.brick(), plx.data.brick()):.4f}")
        0.0000
    """
    pair = as_luminance_pair(img1, img2, data_range, stacklevel=4)
    return _cw_ssim_distance(*pair, level, orientations, stabilizer)


def _check_scale(img1: Array, level: int, orientations: int) -> None:
    smallest = 2 ** (level + 2)
    if min(img1.shape[1:]) < smallest:
        raise ValueError(
            f"At level {level} images must have at least {smallest} pixels along each side, got "
            f"{img1.shape[1]} x {img1.shape[2]}. Use a lower level."
        )
    if orientations > 16:
        raise ValueError(f"orientations must be a whole number from 2 to 16, got {orientations}.")


@functools.partial(jax.jit, static_argnames=("level", "orientations"))
def _cw_ssim_distance(
    img1: Array, img2: Array, level: int, orientations: int, stabilizer: float | Scalar
) -> Scalar:
    _check_scale(img1, level, orientations)
    pyramid = SteerablePyramidFreq(img1.shape[1:], level, orientations - 1, is_complex=True)
    bands1, bands2 = (pyramid(255 * x[0], level - 1)[level - 1] for x in (img1, img2))
    height, width = (n - _WINDOW_SIZE + 1 for n in bands1.shape[1:])
    real = bands1.real * bands2.real + bands1.imag * bands2.imag
    imaginary = bands1.imag * bands2.real - bands1.real * bands2.imag
    energy = sum(x.real**2 + x.imag**2 for x in (bands1, bands2))
    ones = jnp.full(_WINDOW_SIZE, 1 / _WINDOW_SIZE, img1.dtype)
    real, imaginary, energy = correlate_separable(
        jnp.stack([real, imaginary, energy]), ones, ones, pad_mode="valid"
    )
    correlation = safe_sqrt(real**2 + imaginary**2)
    # A window in which both images are 0 is the same in both.
    is_empty = energy + stabilizer == 0
    index = (2 * correlation + stabilizer) / jnp.where(is_empty, 1, energy + stabilizer)
    index = jnp.where(is_empty, 1, index)
    std = bands1.shape[1] / 4
    rows, columns = (_gaussian(n, std) for n in (height, width))
    weights = jnp.asarray(rows[:, None] * columns[None], img1.dtype)
    return keep_within(1 - (index * weights[None]).sum((1, 2)).mean(), 0.0, 1.0)


def _gaussian(count: int, std: float) -> np.ndarray:
    taps = np.exp(-((np.arange(count) - (count - 1) / 2) ** 2) / (2 * std**2))
    return taps / taps.sum()
