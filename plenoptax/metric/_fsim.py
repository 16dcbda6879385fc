import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from .._answers import cites
from .._compiled import warn_of_deadlock
from .._precision import in_single_precision
from .._rules import checked, POSITIVE
from .._safe import safe_divisor, safe_sqrt
from .._types import Scalar
from ._pair import as_luminance_pair, keep_within
from ._quality import dissimilarity, gradient_magnitude


# The log-Gabor filters of Zhang et al. (2011): wavelengths of 6 to 48 pixels, four orientations.
_SCALES, _ORIENTATIONS, _SHORTEST, _RATIO = 4, 4, 6, 2
_BANDWIDTH, _ANGULAR_RATIO = 0.55, 1.2
# The similarity constants of phase congruency, gradients, I and Q, for pixels from 0 to 255.
_PHASE, _GRADIENT, _I, _Q = 0.85, 160.0, 200.0, 200.0
_CHROMA_POWER = 0.03
# Deviations of the noise above its mean, and what its estimate is divided by.
_NOISE_DEVIATIONS, _NOISE_DIVISOR = 2.0, 1.7
# The side of an image that is compared at full resolution.
_FULL_RESOLUTION = 256


_CITATION = """@article{zhang2011fsim,
  author = {Zhang, Lin and Zhang, Lei and Mou, Xuanqin and Zhang, David},
  title = {{FSIM}: A Feature Similarity Index for Image Quality Assessment},
  journal = {IEEE Transactions on Image Processing},
  volume = {20}, number = {8}, pages = {2378--2386}, year = {2011},
  doi = {10.1109/TIP.2011.2109730}
}"""


@cites(_CITATION)
@checked(data_range=POSITIVE)
@in_single_precision("img1", "img2")
def fsim(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    *,
    chromatic: bool = True,
    data_range: int | float | Scalar = 1.0,
) -> Scalar:
    """Compute the feature similarity index of two images, from 0 to 1.

    Phase congruency and the magnitude of the gradient are compared at each pixel, and the larger
    phase congruency is the weight of the pixel (Zhang, Zhang, Mou and Zhang, "FSIM: a feature
    similarity index for image quality assessment", IEEE Trans. Image Process. 2011). The index is 1
    for equal images. To minimize, use ``fsim_distance``. Larger images are first averaged
    over blocks, so that their shorter side has about 256 pixels.

    Args:
        img1: An image of one or three channels, with values from 0 to ``data_range``.
        img2: Another image of the same height, width and dtype.
        chromatic: Whether color images are compared in the chroma channels of YIQ too, by the index
            that the paper calls FSIMc. Otherwise only luminance counts.
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
        >>> print(f"{fsim(brick, grass):.4f}, {fsim(brick, brick):.4f}")
        0.4941, 1.0000
    """
    warn_of_deadlock()
    pair = as_luminance_pair(img1, img2, data_range, chromatic, stacklevel=4)
    return 1 - _fsim_distance(*pair)


@cites(_CITATION)
@checked(data_range=POSITIVE)
@in_single_precision("img1", "img2")
def fsim_distance(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    *,
    chromatic: bool = True,
    data_range: int | float | Scalar = 1.0,
) -> Scalar:
    """Compute ``1 - fsim``: 0 for equal images, and larger for different ones, to at most 1.

    Args:
        img1: An image of one or three channels, with values from 0 to ``data_range``.
        img2: Another image that fits it, as in ``fsim``.
        chromatic: Whether the chroma of color images counts, as in ``fsim``.
        data_range: The largest value that a pixel can have.

    Raises:
        ValueError: If the shapes do not fit, or ``data_range`` is not positive.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If values lie outside [0, data_range], as in ``fsim``.

    Example:
        >>> import plenoptax as plx
        >>> print(f"{fsim_distance(plx.data.brick(), plx.data.brick()):.4f}")
        0.0000
    """
    warn_of_deadlock()
    pair = as_luminance_pair(img1, img2, data_range, chromatic, stacklevel=4)
    return _fsim_distance(*pair)


@jax.jit
def _fsim_distance(img1: Array, img2: Array) -> Scalar:
    block = max(1, round(min(img1.shape[1:]) / _FULL_RESOLUTION))
    first, second = (_average_blocks(255 * x, block) for x in (img1, img2))
    filters = _log_gabor_filters(*first.shape[1:])
    phase1, phase2 = (_phase_congruency(x[0], *filters) for x in (first, second))
    dtype = img1.dtype
    # Scharr's filter.
    difference = jnp.asarray([-1.0, 0.0, 1.0], dtype)
    average = jnp.asarray([3 / 16, 10 / 16, 3 / 16], dtype)
    gradient1, gradient2 = (gradient_magnitude(x[0], difference, average) for x in (first, second))
    similarity = 1 - dissimilarity(phase1, phase2, _PHASE)
    similarity *= 1 - dissimilarity(gradient1, gradient2, _GRADIENT)
    if len(first) == 3:
        chroma = jnp.ones((), dtype)
        for i, constant in ((1, _I), (2, _Q)):
            chroma *= 1 - dissimilarity(first[i], second[i], constant)
        similarity *= _chroma_power(jnp.abs(chroma))
    weight = jnp.maximum(phase1, phase2)
    total = weight.sum()
    return keep_within(((1 - similarity) * weight).sum() / safe_divisor(total), 0.0, 1.0)


def _chroma_power(x: Array) -> Array:
    """Raise to the power of chroma; at 0 with gradient 0, where it would be infinite."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.where(zero, 1, x) ** _CHROMA_POWER)


def _average_blocks(img: Float[Array, "channel height width"], size: int) -> Array:
    """Average blocks of pixels; what is left at the edges does not count."""
    height, width = (n // size for n in img.shape[1:])
    blocks = img[:, : height * size, : width * size].reshape(-1, height, size, width, size)
    return blocks.mean((2, 4))


def _phase_congruency(
    img: Float[Array, "height width"], filters: np.ndarray, powers: np.ndarray, noise: np.ndarray
) -> Float[Array, "height width"]:
    """Compute the phase congruency of Kovesi, with the noise threshold of Zhang et al.

    Args:
        img: The image.
        filters: The filters of `_log_gabor_filters`.
        powers: The power of the finest filter of each orientation.
        noise: The energy that noise of power 1 has in each orientation.
    """
    epsilon = float(jnp.finfo(img.dtype).eps)
    # No filter passes the mean, which would leave rounding errors in an image without contrast.
    spectrum = jnp.fft.fft2(img - img.mean())
    # On CPU, value and gradient take a quarter of the time of one array with all responses.
    responses = [
        [jnp.fft.ifft2(spectrum * jnp.asarray(one, spectrum.dtype)) for one in scales]
        for scales in filters
    ]
    # Of the squared amplitude of the finest filter; the mean of its distribution from the median.
    finest = jnp.stack([x.real**2 + x.imag**2 for x, *_ in responses])
    median = _median(finest.reshape(len(filters), -1))
    noise_power = median / math.log(2) / jnp.asarray(powers, img.dtype)
    rayleigh = safe_sqrt(noise_power * jnp.asarray(noise, img.dtype))
    deviations = math.sqrt(math.pi / 2) + _NOISE_DEVIATIONS * math.sqrt(2 - math.pi / 2)
    threshold = rayleigh * deviations / _NOISE_DIVISOR
    total_energy = total_amplitude = jnp.full_like(img, epsilon)
    for scales, least in zip(responses, threshold, strict=True):
        energy, amplitude = _local_energy(scales, epsilon)
        total_energy += jnp.maximum(energy - least, 0)
        total_amplitude += amplitude
    return total_energy / total_amplitude


def _local_energy(
    responses: Sequence[Complex[Array, "height width"]], epsilon: float
) -> tuple[Float[Array, "height width"], Float[Array, "height width"]]:
    """Return the energy and the sum of the amplitudes of the scales of one orientation."""
    even, odd = ([part(x) for x in responses] for part in (jnp.real, jnp.imag))
    sum_even, sum_odd = (functools.reduce(jnp.add, x) for x in (even, odd))
    length = safe_sqrt(sum_even**2 + sum_odd**2) + epsilon
    mean_even, mean_odd = sum_even / length, sum_odd / length
    energy, amplitude = sum_even * mean_even + sum_odd * mean_odd, jnp.zeros_like(length)
    for x, y in zip(even, odd, strict=True):
        energy -= jnp.abs(x * mean_odd - y * mean_even)
        amplitude += safe_sqrt(x**2 + y**2)
    return energy, amplitude


def _median(x: Float[Array, "row number"]) -> Float[Array, " row"]:
    """Compute the median of each row of numbers that are not negative.

    On CPU, XLA takes 30 times as long to sort so many. The bits of such numbers are in the order of
    the numbers, so the one with a given rank is found bit by bit.
    """
    width = jnp.finfo(x.dtype).bits
    bits = lax.bitcast_convert_type(lax.stop_gradient(x), jnp.dtype(f"int{width}"))
    rank = (x.shape[1] - 1) // 2

    def set_bit(i: Array, found: Array) -> Array:
        trial = found | (jnp.ones_like(found) << (width - 2 - i).astype(found.dtype))
        below = (bits < trial[:, None]).sum(1)
        return jnp.where(below <= rank, trial, found)

    middle = lax.fori_loop(0, width - 1, set_bit, jnp.zeros_like(bits[:, 0]))[:, None]
    # Of an even number of values, the next larger one counts too, unless it is the same.
    is_last = (bits <= middle).sum(1, keepdims=True) <= x.shape[1] // 2
    largest = jnp.full_like(bits, jnp.iinfo(bits.dtype).max)
    following = jnp.where(bits > middle, bits, largest).min(1, keepdims=True)
    upper = jnp.where(is_last, following, middle)
    return (_mean_where(x, bits == middle) + _mean_where(x, bits == upper)) / 2


def _mean_where(x: Float[Array, "row number"], chosen: Array) -> Float[Array, " row"]:
    """Average equal numbers, which share the derivative."""
    return jnp.where(chosen, x, 0).sum(1) / chosen.sum(1).astype(x.dtype)


def _log_gabor_filters(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the filters, the power of the finest, and the energy that noise of power 1 has.

    Returns:
        The filters in the Fourier domain, with axes (orientation, scale, row, column); the sum of
        squares of the finest filter of each orientation; and the variance, of each part of the
        summed responses, to noise whose power in that filter is 1.
    """
    # As in Kovesi's program, the frequencies of an odd side reach from -1/2 to 1/2.
    rows, columns = (np.fft.ifftshift(_frequencies(n)) for n in (height, width))
    radius = np.hypot(rows[:, None], columns[None])
    angle = np.arctan2(-rows[:, None], columns[None])
    lowpass = 1 / (1 + (radius / 0.45) ** 30)
    radius[0, 0] = 1
    filters = np.zeros((_ORIENTATIONS, _SCALES, height, width))
    for scale in range(_SCALES):
        octaves = np.log(radius * _SHORTEST * _RATIO**scale)
        radial = lowpass * np.exp(-(octaves**2) / (2 * math.log(_BANDWIDTH) ** 2))
        radial[0, 0] = 0
        for i in range(_ORIENTATIONS):
            difference = angle - i * math.pi / _ORIENTATIONS
            distance = np.arctan2(np.sin(difference), np.cos(difference))
            deviation = math.pi / _ORIENTATIONS / _ANGULAR_RATIO
            filters[i, scale] = radial * np.exp(-(distance**2) / (2 * deviation**2))
    powers = (filters[:, 0] ** 2).sum((1, 2))
    impulses = np.fft.ifft2(filters).real * math.sqrt(height * width)
    return filters, powers, (impulses.sum(1) ** 2).sum((1, 2))


def _frequencies(count: int) -> np.ndarray:
    if count % 2:
        return np.arange(-(count - 1) / 2, count / 2) / max(count - 1, 1)
    return np.arange(-count / 2, count / 2) / count
