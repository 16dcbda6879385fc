from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._function import AbstractFunction
from .._precision import in_single_precision, to_single
from .._rules import checked, POSITIVE
from .._types import Images, Scalar
from ._pixels import check_floating


@final
class Closeness(AbstractFunction):
    """The squared distance from a given image.

    With a small weight it keeps a stimulus close to an image, such as an adversarial image close to
    its original.

    Attributes:
        image: The image to stay close to.
        weights: One weight for each pixel, or ``None``.

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
            image: The image to stay close to.
            weights: Factors for the squared differences that broadcast to the image, such as a
                mask. By default all pixels count the same.

        Raises:
            ValueError: If the weights do not broadcast to the image.
            TypeError: If the image is not of floating point.
        """
        check_floating(image)
        self.image = jnp.asarray(image)
        self.weights = None if weights is None else jnp.broadcast_to(weights, image.shape)

    @in_single_precision("image")
    def __call__(self, image: Float[Array, "..."]) -> Scalar:
        """Sum the weighted squares of the differences.

        Args:
            image: An image of the same shape.

        Raises:
            ValueError: If the image has another shape.
        """
        _check_shape(image, self.image.shape)
        squares = (image - jnp.asarray(self.image, image.dtype)) ** 2
        if self.weights is not None:
            squares = jnp.asarray(self.weights, image.dtype) * squares
        return jnp.sum(squares)


@final
class Histogram(AbstractFunction):
    """The distance between the distributions of pixel values of an image and a target.

    It is the squared Wasserstein distance, the smallest mean square by which values must move. This
    is the mean squared difference of the sorted values. Equal values may have any order in the
    gradient.

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
            image: The target: an image with the desired histogram.

        Raises:
            TypeError: If the image is not of floating point.
        """
        self.values = _sorted_values(image)

    @in_single_precision("image")
    def __call__(self, image: Images) -> Scalar:
        """Compute the squared distance, averaged over the channels.

        Args:
            image: An image with the same number of pixels as the target.

        Raises:
            ValueError: If the image differs from the target in the number of channels or pixels.
        """
        values = _sorted_values(image)
        _check_shape(values, self.values.shape)
        return jnp.mean((values - jnp.asarray(self.values, values.dtype)) ** 2)


@final
class PowerSpectrum(AbstractFunction):
    """The distance between the power spectra of an image and a target.

    Spectra fall by orders of magnitude from low to high frequencies, so powers are compared by
    their ratio: the penalty is the mean over the frequencies of the squared natural logarithm of
    the ratio. The power at zero frequency is that of the mean.

    Attributes:
        power: The spectrum of the target, scaled so that white noise has its variance as power at
            all frequencies.
        floor: The power added to all powers.
        radial: Whether spectra are averaged over orientations.
        image_shape: The shape of the target.

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

    @checked(floor=POSITIVE)
    def __init__(self, image: Images, *, radial: bool = True, floor: float = (1 / 255) ** 2 / 12):
        """Choose the target.

        Args:
            image: The target: an image with the desired spectrum.
            radial: Whether to compare averages over rings as wide as the lowest frequency of the
                longer side, with equal weight for every ring. If False, compare all frequencies.
            floor: A positive power that counts as negligible, by default that of the noise of
                rounding to 8 bits.

        Raises:
            ValueError: If ``floor`` is not positive.
            TypeError: If the image is not of floating point.
        """
        self.power = _power(to_single(image), radial)
        self.floor = jnp.asarray(floor, jnp.result_type(float))
        self.radial = radial
        self.image_shape = image.shape

    @in_single_precision("image")
    def __call__(self, image: Images) -> Scalar:
        """Compare the spectra of corresponding channels.

        Args:
            image: An image of the shape of the target.

        Raises:
            ValueError: If the image has another shape.
        """
        _check_shape(image, self.image_shape)
        power = _power(image, self.radial)
        floor = jnp.asarray(self.floor, power.dtype)
        target = jnp.asarray(self.power, power.dtype)
        return jnp.mean(jnp.log((power + floor) / (target + floor)) ** 2)


def _sorted_values(image: Images) -> Float[Array, "*channels pixels"]:
    check_floating(image)
    return jnp.sort(image.reshape(*image.shape[:-2], -1))


def _power(image: Images, radial: bool) -> Float[Array, "..."]:
    check_floating(image)
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


def _check_shape(found: Array, wanted: tuple[int, ...]) -> None:
    if found.shape != wanted:
        raise ValueError(
            f"The image must have the shape of the target of the penalty, {wanted}, got "
            f"{found.shape}. Make the penalty from an image of the synthesized shape."
        )
