from math import factorial, sqrt

import numpy as np
from jaxtyping import Float, Int


def level_shape(image_shape: tuple[int, int], scale: int) -> tuple[int, int]:
    """Height and width of the level ``scale`` halvings below an image, rounded up."""
    height, width = image_shape
    return -(-height // 2**scale), -(-width // 2**scale)


def frequency_grid(
    level_shape: tuple[int, int], image_shape: tuple[int, int], half: bool = False
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
    """Polar coordinates of the frequencies of a pyramid level, in the order of ``fft2``.

    A level holds the lowest frequencies ``k`` of an image of size ``n``. The coordinates are
    ``2 * k / n``, 1 at the Nyquist frequency of the *image*, so that masks keep their meaning in
    cycles per pixel at every size. Angles go from the horizontal axis downwards.

    Args:
        level_shape: Height and width of the level, in samples.
        image_shape: Height and width of the image, in pixels.
        half: Only the columns of ``rfft2``; the last one of an even width is then positive.
    """
    (rows, columns), (height, width) = level_shape, image_shape
    column_frequencies = np.fft.rfftfreq if half else np.fft.fftfreq
    y = 2 * np.fft.fftfreq(rows, 1 / rows)[:, None] / height
    x = 2 * column_frequencies(columns, 1 / columns)[None, :] / width
    return np.hypot(x, y), np.arctan2(y, x)


def radial_masks(
    radius: Float[np.ndarray, "*grid"], octave: int, twidth: int | float = 1
) -> tuple[Float[np.ndarray, "*grid"], Float[np.ndarray, "*grid"]]:
    """Lowpass and highpass amplitudes that divide the energy at ``2**-octave`` of Nyquist.

    Raised cosines with ``lowpass**2 + highpass**2 == 1``. The transition covers ``log2(radius)``
    in [-twidth - octave, -octave]: above it the lowpass is exactly 0, below it, and at DC, the
    highpass. The pyramid first divides at octave 0; scale ``s`` ends at octave ``s + 1``.
    """
    with np.errstate(divide="ignore"):
        depth = np.clip((-octave - np.log2(radius)) / twidth, 0, 1)
    return np.sin(np.pi / 2 * depth), np.sin(np.pi / 2 * (1 - depth))


def angular_mask(
    angle: Float[np.ndarray, "*grid"],
    order: int,
    orientation: int | Int[np.ndarray, "*orientations"],
    analytic: bool = False,
) -> Float[np.ndarray, "*filters"]:
    """Amplitude of one of the ``order + 1`` oriented filters, as a function of the angle.

    It is proportional to ``cos(angle - pi * orientation / (order + 1))**order``; the squares of
    all filters sum to 1 at every angle. The analytic one is doubled where the cosine is positive
    and 0 elsewhere, which adds the quadrature partner as an imaginary part. The factor
    ``(-1j)**order`` that makes responses real is left to the caller. DC and the Nyquist
    frequencies have no angle, and no energy in any band: a radial mask is 0 there.

    Args:
        angle: Angles in radians.
        order: Order of the directional derivative, from 0.
        orientation: Index of the filter, or an array of indices that broadcasts with ``angle``.
        analytic: One half plane, with twice the amplitude.
    """
    num_orientations = order + 1
    normalizer = 2**order * factorial(order) / sqrt(num_orientations * factorial(2 * order))
    cosine = np.cos(angle - np.pi * np.asarray(orientation) / num_orientations)
    if analytic:
        return 2 * normalizer * np.maximum(cosine, 0) ** order
    return normalizer * cosine**order
