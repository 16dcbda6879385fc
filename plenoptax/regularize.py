"""Penalties on an image, to be added to the loss of a synthesis.

Each takes an image and returns a scalar; several are added up by `plenoptax.loss.WeightedSum`. What
is asked of each pixel is summed over the pixels; what is asked of a distribution, a spectrum or a
histogram, is a mean. Options of a function are set with ``functools.partial``. Values and gradients
are finite on every finite image.
"""

from collections.abc import Sequence
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ._types import Images, Scalar


def penalize_range(
    img: Float[Array, "..."],
    allowed_range: Sequence[ArrayLike] = (0.0, 1.0),
    **kwargs: Any,
) -> Scalar:
    """Sum the squares of how far the pixels lie outside a range.

    The penalty is a sum and not a mean, so its weight against a loss need not grow with the image
    when only a few pixels leave the range. It is soft: pixels may stay a little outside. A hard
    constraint is ``plenoptax.parametrize.Pixels(bounds=...)``.

    Args:
        img: Image of any shape.
        allowed_range: Lowest and highest value that cost nothing, by default those of an image.
            Either may be infinite, or an array that broadcasts to the image. Another range is
            fixed with ``functools.partial``.
        **kwargs: Ignored.

    Returns:
        The penalty, 0 inside the range. Its gradient is continuous, and 0 at both ends.

    Raises:
        ValueError: If ``allowed_range`` is not a pair.
        TypeError: If the image is not of floating point.

    Example:
        >>> import functools
        >>> import jax.numpy as jnp
        >>> image = jnp.array([[[-1.0, 0.5, 1.0, 3.0]]])
        >>> print(penalize_range(image))
        5.0
        >>> penalty_function = functools.partial(penalize_range, allowed_range=(-2.0, 2.0))
        >>> print(penalty_function(image))
        1.0
    """
    if len(allowed_range) != 2:
        raise ValueError(f"allowed_range must be (lowest, highest), got {allowed_range!r}.")
    _check_floating(img)
    low, high = (jnp.asarray(bound, img.dtype) for bound in allowed_range)
    excess = img - jnp.clip(img, low, high)
    return jnp.sum(excess**2)


def penalize_total_variation(image: Images, smoothing: float = 0.0) -> Scalar:
    """Sum the size of the gradient over the pixels, which favors flat regions with sharp borders.

    The gradient is that of forward differences, 0 beyond the last row and column, and its size is
    Euclidean: a straight edge costs its length times its height.

    Args:
        image: Images; the channels are added up.
        smoothing: In units of pixel values. Gradients that are smaller cost their square over twice
            this number, so the penalty is smooth there. By default 0: the derivative jumps where
            the image is flat, and a descent with a fixed step rattles there.

    Returns:
        The sum of ``sqrt(size**2 + smoothing**2) - smoothing``.

    Raises:
        ValueError: If ``smoothing`` is negative.
        TypeError: If the image is not of floating point.

    References:
        Rudin, Osher and Fatemi (1992), Physica D 60, 259-268.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.zeros((1, 4, 4)).at[:, :, 2:].set(0.5)
        >>> print(penalize_total_variation(image))
        2.0
    """
    if smoothing < 0:
        raise ValueError(f"smoothing must not be negative, got {smoothing}.")
    _check_floating(image)
    down = jnp.diff(image, axis=-2, append=image[..., -1:, :])
    right = jnp.diff(image, axis=-1, append=image[..., -1:])
    squares = down**2 + right**2
    smoothed = squares + smoothing**2
    # Squares below the smallest normal number are flushed to zero in some operations only.
    flat = smoothed < jnp.finfo(image.dtype).tiny
    # The difference of two roots, without the cancellation.
    size = squares / (jnp.sqrt(jnp.where(flat, 1, smoothed)) + smoothing)
    return jnp.sum(jnp.where(flat, 0, size))


def penalize_lp(
    image: Float[Array, "..."], exponent: float = 2.0, level: ArrayLike = 0.5
) -> Scalar:
    """Sum the distances of the pixels from a level, raised to a power.

    A power of 1 leaves most pixels at the level and a few far away; high powers, such as the 6 of
    Mahendran and Vedaldi, leave moderate contrasts alone and hold the extremes back.

    Args:
        image: Image of any shape.
        exponent: At least 1.
        level: What costs nothing, by default mid-gray; a number or an array that broadcasts to the
            image.

    Returns:
        The sum of ``abs(image - level)**exponent``: the power of the norm, and not the norm, whose
        gradient would depend on all pixels.

    Raises:
        ValueError: If the exponent is below 1, where the gradient would be infinite at the level.
        TypeError: If the image is not of floating point.

    References:
        Mahendran and Vedaldi (2016), International Journal of Computer Vision 120, 233-255.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.array([[[0.0, 0.25, 0.5, 1.0]]])
        >>> print(penalize_lp(image), penalize_lp(image, 1.0, level=0.0))
        0.5625 1.75
    """
    if exponent < 1:
        raise ValueError(f"exponent must be at least 1, got {exponent}.")
    _check_floating(image)
    difference = image - jnp.asarray(level, image.dtype)
    # The derivative of the absolute value is 1 at 0, and there the second one of a power below 2
    # is infinite.
    zero = difference == 0
    powers = jnp.abs(jnp.where(zero, 1, difference)) ** exponent
    return jnp.sum(jnp.where(zero, 0, powers))


def penalize_nonbinary(
    image: Float[Array, "..."], values: Sequence[ArrayLike] = (0.0, 1.0)
) -> Scalar:
    """Push every pixel to one of two values.

    Args:
        image: Image of any shape.
        values: The two values that cost nothing, by default black and white.

    Returns:
        The sum over the pixels of a parabola through the two values, 1 midway between them,
        squared. Its gradient is 0 at the two values, and also midway: start elsewhere.

    Raises:
        ValueError: If ``values`` is not a pair.
        TypeError: If the image is not of floating point.

    Example:
        >>> import jax.numpy as jnp
        >>> print(penalize_nonbinary(jnp.array([[[0.0, 0.25, 0.5, 1.0]]])))
        1.5625
    """
    if len(values) != 2:
        raise ValueError(f"values must be a pair, got {values!r}.")
    _check_floating(image)
    low, high = (jnp.asarray(value, image.dtype) for value in values)
    half = (high - low) / 2
    return jnp.sum(((image - low) * (high - image) / half**2) ** 2)


@final
class Closeness(eqx.Module):
    """The squared distance from a given image.

    With a small weight it keeps a stimulus near an image, such as an adversarial one near its
    original.

    Attributes:
        image: The image to stay close to.
        weights: One for each pixel, or ``None``.

    Example:
        >>> import jax.numpy as jnp
        >>> penalty = Closeness(jnp.zeros((1, 2, 2)), weights=jnp.array([[1.0, 0.0], [0.0, 2.0]]))
        >>> print(penalty(jnp.full((1, 2, 2), 0.5)))
        0.75
    """

    image: Float[Array, "..."]
    weights: Float[Array, "..."] | None

    def __init__(self, image: Float[Array, "..."], weights: ArrayLike | None = None):
        """Choose the image.

        Args:
            image: The image.
            weights: Factors of the squared differences that broadcast to the image, such as a mask.
                By default all pixels count the same.

        Raises:
            ValueError: If the weights do not broadcast to the image.
            TypeError: If the image is not of floating point.
        """
        _check_floating(image)
        self.image = jnp.asarray(image)
        self.weights = None if weights is None else jnp.broadcast_to(weights, image.shape)

    def __call__(self, image: Float[Array, "..."]) -> Scalar:
        """Sum the weighted squares of the differences.

        Args:
            image: An image of the same shape.

        Raises:
            ValueError: If it has another shape.
        """
        _check_shape(image, self.image.shape)
        squares = (image - jnp.asarray(self.image, image.dtype)) ** 2
        if self.weights is not None:
            squares = jnp.asarray(self.weights, image.dtype) * squares
        return jnp.sum(squares)


@final
class Histogram(eqx.Module):
    """How far the pixel values of an image are, as a distribution, from those of a target.

    It is the squared Wasserstein distance, the least mean square by which values have to be
    moved: that between the sorted values. Where values are equal, any order serves the gradient.

    Attributes:
        values: The sorted values of each channel of the target.

    Example:
        >>> import jax.numpy as jnp
        >>> penalty = Histogram(jnp.array([[[0.0, 0.5], [1.0, 1.0]]]))
        >>> print(penalty(jnp.array([[[1.0, 0.0], [1.0, 0.5]]])))
        0.0
        >>> print(penalty(jnp.zeros((1, 2, 2))))
        0.5625
    """

    values: Float[Array, "*channels pixels"]

    def __init__(self, image: Images):
        """Choose the target.

        Args:
            image: An image with the histogram that is wanted.

        Raises:
            TypeError: If the image is not of floating point.
        """
        self.values = _sorted_values(image)

    def __call__(self, image: Images) -> Scalar:
        """Find the mean over the channels of the squared distances.

        Args:
            image: An image with as many pixels.

        Raises:
            ValueError: If it has other numbers of channels or of pixels than the target.
        """
        values = _sorted_values(image)
        _check_shape(values, self.values.shape)
        return jnp.mean((values - jnp.asarray(self.values, values.dtype)) ** 2)


@final
class PowerSpectrum(eqx.Module):
    """How far the power spectrum of an image is from that of a target.

    Spectra fall by orders of magnitude from low to high frequencies, so powers are compared by
    their ratio: the penalty is the mean of the squared natural logarithms, over the frequencies.
    The power at zero frequency is that of the mean.

    Attributes:
        power: The spectrum of the target, the power of white noise being its variance everywhere.
        floor: What is added to all powers.
        radial: Whether spectra are averaged over orientations.
        image_shape: That of the target.

    Example:
        >>> import math
        >>> import jax.numpy as jnp
        >>> image = jnp.array([[[0.0, 1.0, 0.0, 1.0]]])
        >>> penalty = PowerSpectrum(image)
        >>> print(penalty(1 - image))
        0.0
        >>> math.isclose(penalty(2 * image), 2 / 3 * math.log(4) ** 2, rel_tol=1e-4)
        True
    """

    power: Float[Array, "..."]
    floor: Scalar
    radial: bool = eqx.field(static=True)
    image_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, image: Images, *, radial: bool = True, floor: float = (1 / 255) ** 2 / 12):
        """Choose the target.

        Args:
            image: An image with the spectrum that is wanted.
            radial: Compare the averages over rings as wide as the lowest frequency of the longer
                side; every ring counts the same. If False, compare all the frequencies.
            floor: A positive power that is as good as none, by default that of the noise which
                rounding to 8 bits makes.

        Raises:
            ValueError: If the floor is not positive.
            TypeError: If the image is not of floating point.
        """
        if not floor > 0:
            raise ValueError(f"floor must be positive, got {floor}.")
        self.power = _power(image, radial)
        self.floor = jnp.asarray(floor, jnp.result_type(float))
        self.radial = radial
        self.image_shape = image.shape

    def __call__(self, image: Images) -> Scalar:
        """Compare spectra, each channel with its own.

        Args:
            image: An image of the shape of the target.

        Raises:
            ValueError: If it has another shape.
        """
        _check_shape(image, self.image_shape)
        power = _power(image, self.radial)
        floor = jnp.asarray(self.floor, power.dtype)
        target = jnp.asarray(self.power, power.dtype)
        return jnp.mean(jnp.log((power + floor) / (target + floor)) ** 2)


def _sorted_values(image: Images) -> Float[Array, "*channels pixels"]:
    _check_floating(image)
    return jnp.sort(image.reshape(*image.shape[:-2], -1))


def _power(image: Images, radial: bool) -> Float[Array, "..."]:
    _check_floating(image)
    spectrum = jnp.fft.fft2(image, norm="ortho")
    power = spectrum.real**2 + spectrum.imag**2
    if not radial:
        return power
    height, width = image.shape[-2:]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    rings = np.round(radius * max(height, width)).astype(int)
    counts = np.bincount(rings.ravel())
    sums = jnp.zeros((*image.shape[:-2], counts.size), power.dtype).at[..., rings].add(power)
    return sums / jnp.broadcast_to(jnp.asarray(counts, power.dtype), sums.shape)


def _check_floating(image: Array) -> None:
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f"The image must be of floating point, in [0, 1], got {image.dtype}.")


def _check_shape(found: Array, wanted: tuple[int, ...]) -> None:
    if found.shape != wanted:
        raise ValueError(
            f"The penalty was made from an image of another shape: it is for {wanted}, got "
            f"{found.shape}. Make it from an image of the shape that is synthesized."
        )
