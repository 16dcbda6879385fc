import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._precision import in_single_precision
from .._rules import checked, COUNT, NUMBER, POSITIVE, Real, SIZES, Whole


@checked(
    size=SIZES,
    period=POSITIVE,
    direction=NUMBER,
    phase=NUMBER,
    contrast=Real(at_least=0, at_most=1),
)
def grating(
    size: int | tuple[int, int] = 256,
    *,
    period: float = 16.0,
    direction: float = 0.0,
    phase: float = 0.0,
    contrast: float = 1.0,
) -> Float[Array, "1 height width"]:
    """Return a sinusoidal grating with mean 0.5.

    Args:
        size: The height and width in pixels; one number for a square.
        period: The number of pixels per cycle. Below 2 the grating is aliased.
        direction: The direction of the modulation, in radians, clockwise from the x axis: 0 gives
            vertical bars.
        phase: The phase of the sine at the center of the image, in radians.
        contrast: The Michelson contrast, between 0 and 1.

    Returns:
        An image in [0, 1].

    Raises:
        ValueError: If ``size`` or ``period`` is not positive, or ``contrast`` is not in [0, 1].

    Example:
        >>> import plenoptax as plx
        >>> plx.data.grating(64, period=8.0, direction=0.5).shape
        (1, 64, 64)
    """
    return _image(_grating(size, period, direction, phase, contrast))


@checked(
    size=SIZES,
    period=POSITIVE,
    directions=NUMBER,
    phase=NUMBER,
    contrast=Real(at_least=0, at_most=1),
)
def plaid(
    size: int | tuple[int, int] = 256,
    *,
    period: float = 16.0,
    directions: tuple[float, float] = (-math.pi / 4, math.pi / 4),
    phase: float = 0.0,
    contrast: float = 1.0,
) -> Float[Array, "1 height width"]:
    """Return the average of two sinusoidal gratings that differ in direction.

    Args:
        size: The height and width in pixels; one number for a square.
        period: The number of pixels per cycle of both gratings.
        directions: The directions of their modulations, in radians, clockwise from the x axis.
        phase: The phase of both sines at the center of the image, in radians.
        contrast: The Michelson contrast of both, between 0 and 1.

    Returns:
        An image in [0, 1].

    Raises:
        ValueError: As in ``grating``.

    Example:
        >>> import plenoptax as plx
        >>> plx.data.plaid(64, period=8.0).shape
        (1, 64, 64)
    """
    first, second = (_grating(size, period, angle, phase, contrast) for angle in directions)
    return _image((first + second) / 2)


@checked(size=SIZES, square_size=COUNT)
def checkerboard(
    size: int | tuple[int, int] = 256, *, square_size: int = 16
) -> Float[Array, "1 height width"]:
    """Return black and white squares, with a black one at the upper left.

    Args:
        size: The height and width in pixels; one number for a square.
        square_size: The side of each square, in pixels.

    Returns:
        An image of zeros and ones.

    Raises:
        ValueError: If ``size`` or ``square_size`` is not positive.

    Example:
        >>> import plenoptax as plx
        >>> plx.data.checkerboard(4, square_size=2)[0, 0]
        Array([0., 0., 1., 1.], dtype=float32)
    """
    height, width = _height_and_width(size)
    rows, columns = np.arange(height)[:, None], np.arange(width)
    return _image((rows // square_size + columns // square_size) % 2.0)


@checked(size=SIZES, phase=NUMBER)
def zone_plate(
    size: int | tuple[int, int] = 256, *, phase: float = 0.0
) -> Float[Array, "1 height width"]:
    """Return rings whose frequency grows with their radius: all frequencies in all directions.

    The value is ``0.5 + 0.5 cos(pi r^2 / n + phase)``, where r is the distance from the center in
    pixels, and n is the longer side. The local frequency is ``r / n`` cycles per pixel. It reaches
    the Nyquist limit at both ends of the central line along the longer side, and exceeds it in the
    corners, where the rings are aliased.

    Args:
        size: The height and width in pixels; one number for a square.
        phase: The phase at the center, in radians.

    Returns:
        An image in [0, 1].

    Raises:
        ValueError: If ``size`` is not positive.

    Example:
        >>> import plenoptax as plx
        >>> plx.data.zone_plate((32, 64)).shape
        (1, 32, 64)
    """
    return _image(0.5 + 0.5 * _zone_plate(size, phase))


@checked(size=SIZES, exponent=NUMBER)
def pink_noise(
    size: int | tuple[int, int] = 256, *, key: PRNGKeyArray, exponent: float = 1.0
) -> Float[Array, "1 height width"]:
    """Return Gaussian noise whose amplitude spectrum falls as a power of the frequency.

    White Gaussian noise is filtered by ``1 / f^exponent`` with periodic boundaries, then shifted
    and scaled so that the smallest pixel is 0 and the largest 1.

    Args:
        size: The height and width in pixels; one number for a square.
        key: The random key for the noise.
        exponent: The exponent: 0 is white noise; 1, the default, is about that of natural images
            (Field 1987, "Relations between the statistics of natural images and the response
            properties of cortical cells", JOSA A).

    Returns:
        An image in [0, 1].

    Raises:
        ValueError: If ``size`` is not positive, or is a single pixel.

    Example:
        >>> import jax
        >>> import plenoptax as plx
        >>> plx.data.pink_noise(64, key=jax.random.key(0)).shape
        (1, 64, 64)
    """
    height, width = _height_and_width(size)
    if height * width < 2:
        raise ValueError(
            f"size must be more than a single pixel, whose noise has no range to scale, got {size}."
        )
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    # The constant term has no effect: the range is set afterwards.
    frequency[0, 0] = 1
    noise = jax.random.normal(key, (height, width))
    spectrum = jnp.fft.rfft2(noise)
    gain = jnp.asarray((frequency / frequency.min()) ** -exponent, spectrum.dtype)
    return _rescale(jnp.fft.irfft2(spectrum * gain, s=(height, width)))[None]


@in_single_precision("image")
def spectral_noise(
    image: Float[Array, "channel height width"], *, key: PRNGKeyArray
) -> Float[Array, "channel height width"]:
    """Return noise with the amplitude spectrum of an image.

    The mean and the amplitude of each frequency stay. To the phases of all channels the same random
    phases are added, so the correlations between channels stay as well. Everything else that an
    image shows, such as edges, is gone.

    Args:
        image: The image.
        key: The random key for the phases.

    Returns:
        An image whose values may leave the range of the given one.

    Example:
        >>> import jax
        >>> import plenoptax as plx
        >>> plx.data.spectral_noise(plx.data.grass(), key=jax.random.key(0)).shape
        (1, 256, 256)
    """
    # The phases of real noise have the symmetry that makes the result real.
    noise = jnp.fft.rfft2(jax.random.normal(key, (1, *image.shape[-2:]), image.dtype))
    angles = jnp.angle(noise).at[0, 0, 0].set(0)
    turned = jnp.fft.rfft2(image) * jax.lax.complex(jnp.cos(angles), jnp.sin(angles))
    return jnp.fft.irfft2(turned, s=image.shape[-2:])


@checked(size=Whole(10))
def make_synthetic_stimuli(
    size: int = 256, *, key: PRNGKeyArray | None = None
) -> Float[Array, "11 1 size size"]:
    """Return eleven basic stimuli for trying out a model, the same as in plenoptic 1.x.

    Each is shifted and scaled to fill [0, 1]. They are, in this order, with n for ``size``:

    0. impulse: one white pixel, at row and column ``n // 2``;
    1. step edge: white left half, black right half, with a transition of two pixels;
    2. ramp: from black at the top to white at the bottom;
    3. bar: white, vertical, two pixels wide and about ``n / 5`` high;
    4. curved edge: a white disk of radius ``n / 1.2`` about the lower right corner, soft over two
       pixels;
    5. sine grating: vertical, of ``log2(n)`` pixels per cycle, in a Gaussian window of variance n;
    6. square grating: diagonal, of ``2 pi sqrt(2)`` pixels per cycle, in the same window;
    7. polar angle: about the center, clockwise from the x axis, from -pi to pi;
    8. angular sine: six cycles around the center;
    9. zone plate: ``zone_plate``;
    10. fractal: ``pink_noise`` of exponent 1.7.

    Args:
        size: The height and width in pixels, at least 10.
        key: The random key for the fractal. None is ``jax.random.key(0)``, so that the stimuli are
            always the same.

    Returns:
        The stimuli, stacked along the first axis, in [0, 1].

    Raises:
        ValueError: If ``size`` is less than 10, which leaves no bar.

    Example:
        >>> import plenoptax as plx
        >>> plx.data.make_synthetic_stimuli(64).shape
        (11, 1, 64, 64)
    """
    y, x = _coordinates(size)
    impulse, bar = np.zeros((2, size, size))
    middle = size // 2
    impulse[middle, middle] = 1
    bar[middle - size // 10 : middle + size // 10, middle - 1 : middle + 1] = 1
    corner_distance = np.hypot(y - y[-1], x - x[-1])
    window = np.exp(-(y**2 + x**2) / (2 * size))
    angle = (np.arctan2(y, x) + np.pi) % (2 * np.pi) - np.pi
    stimuli = [
        impulse,
        _square_wave(x + 0 * y, 2 * np.pi / (size + 1), 0.0),
        y + 0 * x,
        bar,
        _soft_step(size / 1.2 - corner_distance, 2.0),
        np.sin(2 * np.pi / math.log2(size) * x) * window,
        _square_wave((x + y) / math.sqrt(2), math.sqrt(0.5), 2 * np.pi / 3) * window,
        angle,
        np.sin(6 * angle),
        _zone_plate(size, 0.0),
    ]
    fractal = pink_noise(size, key=jax.random.key(0) if key is None else key, exponent=1.7)
    return jnp.stack([*(_image(_rescale(stimulus)) for stimulus in stimuli), fractal])


def _height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _coordinates(size: int | tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows, shape ``(height, 1)``, and columns, ``(width,)``, in pixels from the center."""
    height, width = _height_and_width(size)
    return (np.arange(height) - (height - 1) / 2)[:, None], np.arange(width) - (width - 1) / 2


def _grating(
    size: int | tuple[int, int], period: float, direction: float, phase: float, contrast: float
) -> np.ndarray:
    y, x = _coordinates(size)
    distance = math.cos(direction) * x + math.sin(direction) * y
    return 0.5 + 0.5 * contrast * np.sin(2 * np.pi / period * distance + phase)


def _zone_plate(size: int | tuple[int, int], phase: float) -> np.ndarray:
    y, x = _coordinates(size)
    return np.cos(np.pi / max(len(y), len(x)) * (y**2 + x**2) + phase)


def _square_wave(distance: np.ndarray, frequency: float, phase: float) -> np.ndarray:
    """Return -1 where a sine of ``frequency`` radians per pixel is positive, 1 where negative.

    The edges are raised cosines, two pixels wide.
    """
    from_crest = np.abs((frequency * distance + phase + np.pi / 2) % (2 * np.pi) - np.pi)
    return 2 * _soft_step(from_crest - np.pi / 2, 2 * frequency) - 1


def _soft_step(distance: np.ndarray, width: float) -> np.ndarray:
    """Return a step from 0 to 1, a raised cosine of ``width`` around a distance of 0."""
    return np.sin(np.pi / 2 * np.clip(distance / width + 0.5, 0, 1)) ** 2


def _rescale(values):
    return (values - values.min()) / (values.max() - values.min())


def _image(pixels: np.ndarray) -> Float[Array, "1 height width"]:
    """Convert pixels, computed in float64, to an image in the default precision."""
    return jnp.asarray(pixels)[None]
