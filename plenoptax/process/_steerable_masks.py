from math import factorial, sqrt

import numpy as np
from jaxtyping import Float, Int


def level_shape(image_shape: tuple[int, int], scale: int) -> tuple[int, int]:
    """Size of a pyramid level: ``ceil(n / 2**scale)`` samples along each axis.

    Args:
        image_shape: Height and width of the image, in pixels.
        scale: Number of halvings; 0 is the image itself.
    """
    height, width = image_shape
    return -(-height // 2**scale), -(-width // 2**scale)


def frequency_grid(
    level_shape: tuple[int, int], image_shape: tuple[int, int], half: bool = False
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
    """Polar frequency coordinates of the DFT samples of one level, in the order of ``fft2``.

    A level holds the lowest frequencies ``k`` of the image, so its coordinates are ``2 * k / n``
    with ``n`` the size of the *image*: a mask keeps its meaning in cycles per pixel on every
    level, whether or not the size halves evenly.

    Args:
        level_shape: Height and width of the level, in samples.
        image_shape: Height and width of the image, in pixels.
        half: Only the columns that ``rfft2`` keeps. On an even width the last one is then the
            positive Nyquist frequency, where ``fft2`` has the negative one.

    Returns:
        ``(radius, angle)`` in float64: the radius in units of the Nyquist frequency of the image
        (1 is 0.5 cycles per pixel, along an axis), the angle in radians in [-pi, pi], measured
        from the horizontal frequency axis towards the bottom of the image.
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

    The two are a sine and a cosine of ``log2(radius)``, so ``lowpass**2 + highpass**2 == 1``. The
    transition covers ``log2(radius)`` in [-twidth - octave, -octave]: above it the lowpass is
    exactly 0, below it, and so at DC, the highpass is.

    Args:
        radius: Frequency in units of Nyquist, from ``frequency_grid``.
        octave: Octaves below Nyquist where the transition ends. The pyramid's first division is
            at 0, the band of scale ``s`` is separated from what is coarser at ``s + 1``.
        twidth: Width of the transition, in octaves.

    Returns:
        ``(lowpass, highpass)``.
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

    The filter is ``sqrt(c) * cos(angle - pi * orientation / (order + 1))**order``, with ``c`` such
    that the squares of all ``order + 1`` filters sum to 1 at every angle. The analytic one is
    twice that on the half plane where the cosine is positive and 0 on the other: the real part of
    its response is the response of the first, the imaginary part its quadrature partner. Both
    still need the factor ``(-1j)**order`` that makes the responses real.

    DC and the Nyquist frequencies have no well-defined angle; a highpass or lowpass mask is 0
    there in every band of the pyramid, which is what makes reconstruction exact.

    Args:
        angle: Angles in radians, from ``frequency_grid``.
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
