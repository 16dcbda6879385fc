"""Indices of image quality that compare gradients or Haar coefficients of luminance."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._answers import cites
from .._precision import in_single_precision
from .._rules import checked, POSITIVE
from .._safe import safe_divisor, safe_sqrt
from .._types import Scalar
from ..process import correlate_separable
from ._pair import as_luminance_pair, keep_within


_GMSD_CITATION = """@article{xue2014gradient,
  author = {Xue, Wufeng and Zhang, Lei and Mou, Xuanqin and Bovik, Alan C.},
  title = {Gradient Magnitude Similarity Deviation: A Highly Efficient Perceptual Image Quality
           Index},
  journal = {IEEE Transactions on Image Processing},
  volume = {23}, number = {2}, pages = {684--695}, year = {2014},
  doi = {10.1109/TIP.2013.2293423}
}"""
_HAARPSI_CITATION = """@article{reisenhofer2018haar,
  author = {Reisenhofer, Rafael and Bosse, Sebastian and Kutyniok, Gitta and Wiegand, Thomas},
  title = {A {Haar} Wavelet-Based Perceptual Similarity Index for Image Quality Assessment},
  journal = {Signal Processing: Image Communication},
  volume = {61}, pages = {33--43}, year = {2018},
  doi = {10.1016/j.image.2017.11.001}
}"""


@cites(_GMSD_CITATION)
@checked(data_range=POSITIVE)
@in_single_precision("img1", "img2")
def gmsd(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    *,
    data_range: int | float | Scalar = 1.0,
) -> Scalar:
    """Compute the gradient magnitude similarity deviation, a distance.

    The magnitudes of the gradients of two images are compared at each pixel of half of the
    resolution. The distance is the standard deviation of these similarities: a distortion is worse
    where it is not everywhere the same (Xue, Zhang, Mou and Bovik, "Gradient magnitude similarity
    deviation", IEEE Trans. Image Process. 2014). It is 0 for equal images, and also for all other
    pairs whose similarity is the same at every pixel. Of color images the luminance is compared,
    the Y of YIQ.

    Args:
        img1: An image of one or three channels, with values from 0 to ``data_range``.
        img2: Another image of the same height, width and dtype.
        data_range: The largest value that a pixel can have.

    Raises:
        ValueError: If the shapes are wrong or do not fit, or ``data_range`` is not positive.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If a value lies outside [0, data_range], which is not checked under a
            transformation of JAX.

    Example:
        >>> import plenoptax as plx
        >>> brick, grass = plx.data.brick(), plx.data.grass()
        >>> print(f"{gmsd(brick, grass):.4f}, {gmsd(brick, brick):.4f}")
        0.3307, 0.0000
    """
    return _gmsd(*as_luminance_pair(img1, img2, data_range, stacklevel=4))


@cites(_HAARPSI_CITATION)
@checked(data_range=POSITIVE)
@in_single_precision("img1", "img2")
def haarpsi(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    *,
    data_range: int | float | Scalar = 1.0,
) -> Scalar:
    """Compute the Haar wavelet-based perceptual similarity index, from 0 to 1.

    Horizontal and vertical Haar coefficients of two fine scales are compared at each pixel of half
    of the resolution; the coefficients of a third scale are the weights (Reisenhofer, Bosse,
    Kutyniok and Wiegand, "A Haar wavelet-based perceptual similarity index for image quality
    assessment", Signal Process. Image Commun. 2018). Of color images, luminance and both chroma
    channels of YIQ are compared. The index is 1 for equal images. If all weights are 0, all pixels
    count the same. To minimize, use ``haarpsi_distance``.

    Args:
        img1: An image of one or three channels, with values from 0 to ``data_range``.
        img2: Another image of the same height, width and dtype.
        data_range: The largest value that a pixel can have.

    Raises:
        ValueError: If the shapes are wrong or do not fit, or ``data_range`` is not positive.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If a value lies outside [0, data_range], which is not checked under a
            transformation of JAX.

    Example:
        >>> import plenoptax as plx
        >>> brick, grass = plx.data.brick(), plx.data.grass()
        >>> print(f"{haarpsi(brick, grass):.4f}, {haarpsi(brick, brick):.4f}")
        0.1440, 1.0000
    """
    return 1 - _haarpsi_distance(*as_luminance_pair(img1, img2, data_range, True, stacklevel=4))


@cites(_HAARPSI_CITATION)
@checked(data_range=POSITIVE)
@in_single_precision("img1", "img2")
def haarpsi_distance(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    *,
    data_range: int | float | Scalar = 1.0,
) -> Scalar:
    """Compute ``1 - haarpsi``: 0 for equal images, and larger for different ones, to at most 1.

    Args:
        img1: An image of one or three channels, with values from 0 to ``data_range``.
        img2: Another image that fits it, as in ``haarpsi``.
        data_range: The largest value that a pixel can have.

    Raises:
        ValueError: If the shapes do not fit, or ``data_range`` is not positive.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If values lie outside [0, data_range], as in ``haarpsi``.

    Example:
        >>> import plenoptax as plx
        >>> print(f"{haarpsi_distance(plx.data.brick(), plx.data.brick()):.4f}")
        0.0000
    """
    return _haarpsi_distance(*as_luminance_pair(img1, img2, data_range, True, stacklevel=4))


@jax.jit
def _gmsd(img1: Array, img2: Array) -> Scalar:
    # Prewitt's filter.
    difference = jnp.asarray([-1.0, 0.0, 1.0], img1.dtype)
    average = jnp.full(3, 1 / 3, img1.dtype)
    first, second = (gradient_magnitude(_halve(x[0]), difference, average) for x in (img1, img2))
    # 1 minus the similarity has the same deviation, and is exactly 0 for equal images.
    return safe_sqrt(dissimilarity(first, second, 170 / 255**2).var())


def gradient_magnitude(
    img: Float[Array, "height width"], difference: Array, average: Array
) -> Float[Array, "height width"]:
    """Compute the length of the gradient, whose filters are separable; beyond the edges are zeros.

    Args:
        img: The image.
        difference: The weights along the derivative.
        average: The weights across it.
    """
    along, across = (
        correlate_separable(img, *taps, pad_mode="constant")
        for taps in ((difference, average), (average, difference))
    )
    return safe_sqrt(along**2 + across**2)


def dissimilarity(first: Array, second: Array, constant: float) -> Array:
    """Compute 1 minus the similarity ``(2 a b + c) / (a**2 + b**2 + c)``, as one fraction."""
    return (first - second) ** 2 / (first**2 + second**2 + constant)


def _halve(img: Float[Array, "*batch height width"]) -> Float[Array, "*batch rows columns"]:
    """Average blocks of 2 x 2 pixels; an odd side is extended by zeros."""
    height, width = (-(-n // 2) for n in img.shape[-2:])
    edges = [(0, 0)] * (img.ndim - 2)
    edges += [(0, n % 2) for n in img.shape[-2:]]
    blocks = jnp.pad(img, edges).reshape(*img.shape[:-2], height, 2, width, 2)
    return blocks.mean((-3, -1))


# From the fit of Reisenhofer et al. to four databases, for pixels from 0 to 255.
_HAARPSI_CONSTANT, _HAARPSI_EXPONENT = 30.0, 4.2


@jax.jit
def _haarpsi_distance(img1: Array, img2: Array) -> Scalar:
    images = [_halve(255 * x) for x in (img1, img2)]
    fine = [[_haar_magnitudes(x[0], scale) for scale in (1, 2)] for x in images]
    weights = list(jnp.maximum(*(_haar_magnitudes(x[0], 3) for x in images)))
    c = _HAARPSI_CONSTANT
    # Each is the mean over two scales, or over both chroma channels, of 1 minus the similarity.
    different = [
        sum(dissimilarity(fine[0][scale][i], fine[1][scale][i], c) for scale in range(2)) / 2
        for i in range(2)
    ]
    if len(img1) == 3:
        first, second = (_smoothed_magnitude(x[1:]) for x in images)
        different.append(dissimilarity(first, second, c).mean(0))
        weights.append((weights[0] + weights[1]) / 2)
    # The published mean of sigmoid(4.2 similarity), as its distance from that of equal images.
    alpha = jnp.asarray(_HAARPSI_EXPONENT, img1.dtype)
    top = jax.nn.sigmoid(alpha)
    maps = top - jax.nn.sigmoid(alpha * (1 - jnp.stack(different)))
    weight = jnp.stack(weights)
    total = weight.sum()
    is_flat = total == 0
    weighted = (maps * weight).sum() / safe_divisor(total)
    below = jnp.where(is_flat, maps.mean(), weighted)
    # The inverse of the sigmoid at `top - below`, minus alpha.
    change = (jnp.log1p(-below / top) - jnp.log1p(below / (1 - top))) / alpha
    return keep_within(-change * (2 + change), 0.0, 1.0)


def _haar_magnitudes(img: Float[Array, "height width"], scale: int) -> Float[Array, "2 h w"]:
    """Compute the magnitudes of vertical and horizontal differences of blocks of a scale."""
    size = 2**scale
    ones = jnp.ones(size, img.dtype)
    signs = jnp.where(jnp.arange(size) < size // 2, ones, -ones)
    padded = jnp.pad(img, [(size // 2 - 1, size // 2)] * 2)
    bands = [
        correlate_separable(padded, rows / size, columns, pad_mode="valid")
        for rows, columns in ((signs, ones), (ones, signs))
    ]
    return jnp.abs(jnp.stack(bands))


def _smoothed_magnitude(img: Float[Array, "channel height width"]) -> Array:
    padded = jnp.pad(img, [(0, 0), (0, 1), (0, 1)])
    rows = padded[:, :-1] + padded[:, 1:]
    return jnp.abs(rows[..., :-1] + rows[..., 1:]) / 4
