from math import factorial, sqrt

import numpy as np
from jaxtyping import Float, Int


def level_shape(image_shape: tuple[int, int], scale: int) -> tuple[int, int]:
    """Return the height and width of an image after ``scale`` halvings, rounded up."""
    height, width = image_shape
    return -(-height // 2**scale), -(-width // 2**scale)


def frequency_grid(
    level_shape: tuple[int, int], image_shape: tuple[int, int], half: bool = False
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
    """Compute polar coordinates of the frequencies of a pyramid level, in the order of ``fft2``.

    A level holds the lowest frequencies ``k`` of an image of size ``n``. The coordinates are
    ``2 * k / n``, 1 at the Nyquist frequency of the *image*, so masks keep their meaning in cycles
    per pixel at every size. Angles increase from the horizontal axis downwards.

    Args:
        level_shape: Height and width of the level, in samples.
        image_shape: Height and width of the image, in pixels.
        half: Whether to return only the columns of ``rfft2``. The last column of an even width is
            then positive.
    """
    (rows, columns), (height, width) = level_shape, image_shape
    column_frequencies = np.fft.rfftfreq if half else np.fft.fftfreq
    y = 2 * np.fft.fftfreq(rows, 1 / rows)[:, None] / height
    x = 2 * column_frequencies(columns, 1 / columns)[None, :] / width
    return np.hypot(x, y), np.arctan2(y, x)


def radial_masks(
    radius: Float[np.ndarray, "*grid"], octave: int, twidth: int | float = 1
) -> tuple[Float[np.ndarray, "*grid"], Float[np.ndarray, "*grid"]]:
    """Compute lowpass and highpass amplitudes that divide the energy at ``2**-octave`` of Nyquist.

    They are raised cosines with ``lowpass**2 + highpass**2 == 1``. The transition covers
    ``log2(radius)`` in [-twidth - octave, -octave]. The lowpass is exactly 0 above it, the highpass
    below it and at DC. The pyramid first divides at octave 0; scale ``s`` ends at octave ``s + 1``.
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
    """Compute the amplitude of one of the ``order + 1`` oriented filters at given angles.

    It is proportional to ``cos(angle - pi * orientation / (order + 1))**order``; the squares of
    all filters sum to 1 at every angle. The analytic filter is doubled where the cosine is positive
    and 0 elsewhere, which adds the quadrature partner as an imaginary part. The caller applies the
    factor ``(-1j)**order`` that makes responses real. DC and the Nyquist frequencies have no angle,
    and no energy in any band, because a radial mask is 0 there.

    Args:
        angle: Angles in radians.
        order: Order of the directional derivative, from 0.
        orientation: Index of the filter, or an array of indices that broadcasts with ``angle``.
        analytic: Whether to keep only one half plane, with twice the amplitude.
    """
    num_orientations = order + 1
    normalizer = 2**order * factorial(order) / sqrt(num_orientations * factorial(2 * order))
    cosine = np.cos(angle - np.pi * np.asarray(orientation) / num_orientations)
    if analytic:
        return 2 * normalizer * np.maximum(cosine, 0) ** order
    return normalizer * cosine**order
