from collections.abc import Sequence
from types import ModuleType
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Inexact

from .._precision import in_single_precision
from .._rules import checked, COUNT, NOT_NEGATIVE, NUMBER, POSITIVE, Whole
from .._safe import safe_sqrt
from .._scale import power_of_two
from .._types import Key


Samples: TypeAlias = Float[Array, " samples"] | Float[np.ndarray, " samples"]


@checked(a=NUMBER, b=NUMBER)
@in_single_precision("x")
def rescale(
    x: Float[Array, "*shape"], a: int | float = 0, b: int | float = 1
) -> Float[Array, "*shape"]:
    """Map the values of an array linearly, its minimum to ``a`` and its maximum to ``b``.

    Minimum and maximum are taken over the entire array, not over each image. A constant array
    becomes ``a``, with a finite gradient. The same holds for an array of so small a range that the
    slope, summed over all values, would be infinite: below 1e-38 times the number of values in
    float32.

    Args:
        x: Any array.
        a: New minimum.
        b: New maximum.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import rescale
        >>> rescale(jnp.asarray([2.0, 4.0, 6.0]), a=-1, b=1)
        Array([-1.,  0.,  1.], dtype=float32)
    """
    shifted = x - x.min()
    extent = shifted.max()
    slope = x.size * jnp.maximum(1, jnp.abs(jnp.asarray(b - a, x.dtype)))
    varies = extent > slope * jnp.finfo(x.dtype).tiny
    unit = shifted / jnp.where(varies, power_of_two(extent), 1)
    return a + (b - a) * (unit / jnp.where(varies, unit.max(), 1))


@checked(output_size=COUNT)
def center_crop(
    x: Inexact[Array, "*batch height width"], output_size: int
) -> Inexact[Array, "*batch size size"]:
    """Cut out the central square.

    The pixel ``(height // 2, width // 2)`` becomes the pixel ``(size // 2, size // 2)``, so the
    zero lag of an autocorrelation stays in the center.

    Args:
        x: Images.
        output_size: Height and width of the square, in pixels.

    Raises:
        ValueError: If ``output_size`` is not a positive whole number, or larger than the images.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import center_crop
        >>> center_crop(jnp.arange(15.0).reshape(3, 5), 3)[1]
        Array([6., 7., 8.], dtype=float32)
    """
    height, width = x.shape[-2:]
    if output_size > min(height, width):
        raise ValueError(
            f"output_size must be from 1 to {min(height, width)} for images of "
            f"{(height, width)}, got {output_size}."
        )
    top, left = height // 2 - output_size // 2, width // 2 - output_size // 2
    return x[..., top : top + output_size, left : left + output_size]


@checked(noise_mse=NOT_NEGATIVE)
@in_single_precision("img")
def add_noise(
    img: Float[Array, "*shape height width"], noise_mse: ArrayLike | list[float], *, key: Key
) -> Float[Array, "... height width"]:
    """Add Gaussian white noise of an exact mean squared error to an image.

    The noise of each channel has a mean of exactly 0 and a mean square of exactly ``noise_mse``, up
    to rounding. Values are not clipped, because clipping would change these moments.

    Args:
        img: Image; the noise is independent along its leading axes.
        noise_mse: Mean squared error, in squared units of the image; or an array of such values.
        key: Random key.

    Returns:
        The noisy image. If ``noise_mse`` is an array, one image for each value, on new leading
        axes.

    Raises:
        ValueError: If ``noise_mse`` is negative, or the image has fewer than two pixels.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> image = jnp.full((1, 16, 16), 0.5)
        >>> noisy = add_noise(image, [0.01, 0.04], key=jax.random.key(0))
        >>> noisy.shape
        (2, 1, 16, 16)
        >>> [f"{mse:.4f}" for mse in ((noisy - image[None]) ** 2).mean(axis=(1, 2, 3))]
        ['0.0100', '0.0400']
    """
    if img.shape[-2] * img.shape[-1] < 2:
        raise ValueError(
            f"The image must have two pixels or more for noise of mean zero, got {img.shape}."
        )
    if not jnp.issubdtype(img.dtype, jnp.floating):
        raise TypeError(
            f"img must have real floating-point numbers, got {img.dtype}. Convert it first: "
            "integers would lose the noise."
        )
    mse = jnp.asarray(noise_mse, img.dtype)
    noise = jax.random.normal(key, mse.shape + img.shape, img.dtype)
    noise = noise - noise.mean((-2, -1), keepdims=True)
    rms = jnp.sqrt(jnp.mean(noise**2, (-2, -1), keepdims=True))
    scale = safe_sqrt(mse).reshape(mse.shape + (1,) * img.ndim)
    return img.reshape((1,) * mse.ndim + img.shape) + noise / rms * scale


@checked(width=POSITIVE, position=NUMBER, values=NUMBER)
def raised_cosine(
    width: int | float = 1,
    position: int | float = 0,
    values: Sequence[int | float] = (0, 1),
) -> tuple[Float[Array, " samples"], Float[Array, " samples"]]:
    """Sample a smooth step, half a period of a squared cosine, for ``interpolate1d``.

    Args:
        width: Length of the step.
        position: Position of its middle.
        values: Values before and after the step.

    Returns:
        ``(X, Y)``: 259 positions and the values there. 257 positions sample the step, and there is
        one more on either side.

    Example:
        >>> X, Y = raised_cosine(width=2, position=5)
        >>> [f"{position:.2f}" for position in X[:: len(X) // 2]]
        ['3.99', '5.00', '6.01']
        >>> [f"{abs(value):.2f}" for value in Y[:: len(X) // 2]]
        ['0.00', '0.50', '1.00']
    """
    phase = np.arange(-257, 2) / 256
    step = np.cos(np.pi / 2 * np.clip(phase, -1, 0)) ** 2
    X = position + width * (phase + 0.5)
    return jnp.asarray(X), jnp.asarray(values[0] + (values[1] - values[0]) * step)


@in_single_precision("x_new")
def interpolate1d(x_new: Float[Array, "*shape"], Y: Samples, X: Samples) -> Float[Array, "*shape"]:
    """Interpolate a function linearly between its samples.

    Args:
        x_new: Positions to evaluate. Beyond the samples the function keeps its first and last
            value.
        Y: Values of the samples.
        X: Positions of the samples, increasing.

    Example:
        >>> import jax.numpy as jnp
        >>> X, Y = jnp.asarray([0.0, 1.0, 3.0]), jnp.asarray([0.0, 10.0, 20.0])
        >>> interpolate1d(jnp.asarray([[0.5, 2.0], [-1.0, 9.0]]), Y, X)
        Array([[ 5., 15.],
               [ 0., 20.]], dtype=float32)
    """
    return jnp.interp(x_new, jnp.asarray(X, x_new.dtype), jnp.asarray(Y, x_new.dtype))


@checked(harmonics=Whole(0, several=True))
@in_single_precision("basis")
def steer(
    basis: Float[Array, "*batch filters"],
    angle: ArrayLike,
    harmonics: Sequence[int] | None = None,
    steermtx: Float[Array, "harmonics filters"]
    | Float[np.ndarray, "harmonics filters"]
    | None = None,
    return_weights: bool = False,
    even_phase: bool = True,
) -> Float[Array, "*batch 1"] | tuple[Float[Array, "*batch 1"], Float[Array, "... filters"]]:
    """Rotate a steerable filter, or responses to one, to another angle.

    A function of an angle with few harmonics is a weighted sum of copies of itself, rotated to as
    many angles as it has harmonics (Freeman and Adelson, "The design and use of steerable filters",
    PAMI 1991). For pyramids use ``SteerablePyramidFreq.steer_coeffs``.

    Args:
        basis: Copies rotated by ``pi * k / filters``, or the responses to them, on the last axis.
        angle: Angle in radians; or an array of angles, broadcast against the leading axes of
            ``basis``.
        harmonics: Angular harmonics of the filter. Default: those of a directional derivative of
            order ``filters - 1``, which are every second number up to the order.
        steermtx: Matrix that maps the basis to the cosine and sine of each harmonic in turn (a
            harmonic of 0 has only a cosine). Default: the matrix for the angles above.
        return_weights: Whether to return the weights too.
        even_phase: Whether the harmonics of the filter are in cosine phase. Otherwise they are in
            sine phase.

    Returns:
        The steered filter or responses, with a last axis of 1, and the weights if
        ``return_weights`` is True.

    Raises:
        ValueError: If the harmonics do not fit the number of filters.

    Example:
        >>> import jax.numpy as jnp
        >>> angles = jnp.pi * jnp.arange(4.0) / 4
        >>> responses = jnp.cos(0.3 - angles) ** 3
        >>> float(steer(responses, 0.3).round(5)[0])
        1.0
    """
    num = basis.shape[-1]
    frequencies = np.arange(1 - num % 2, num, 2) if harmonics is None else np.ravel(harmonics)
    if 2 * len(frequencies) - (frequencies == 0).sum() != num:
        raise ValueError(
            f"harmonics must have {num} cosines and sines together for {num} filters, where 0 has "
            f"one and others have two, got {frequencies.tolist()}."
        )
    if steermtx is None:
        positions = np.pi * np.arange(num) / num
        steermtx = np.linalg.pinv(_waves(positions, frequencies.tolist(), even_phase, np))
    angle = jnp.asarray(angle, basis.dtype)
    precision = jax.lax.Precision.HIGHEST
    waves = _waves(angle, frequencies.tolist(), True, jnp)
    weights = jnp.matmul(waves, jnp.asarray(steermtx, basis.dtype), precision=precision)
    aligned = weights.reshape((1,) * (basis.ndim - weights.ndim) + weights.shape)
    steered = jnp.sum(basis * aligned, axis=-1, keepdims=True)
    return (steered, weights) if return_weights else steered


def refuse_negative(values: ArrayLike | list[float], name: str):
    """Raise an error if a value is negative. Arrays traced by JAX are not checked."""
    try:
        negative = bool(np.any(np.asarray(values) < 0))
    except jax.errors.TracerArrayConversionError:
        return
    if negative:
        raise ValueError(f"{name} must not be negative, got a minimum of {np.min(values)}.")


def _waves(
    angles: ArrayLike, frequencies: list[int], even_phase: bool, numpy: ModuleType
) -> Array | np.ndarray:
    columns = []
    for frequency in frequencies:
        cosine, sine = numpy.cos(frequency * angles), numpy.sin(frequency * angles)
        if frequency == 0:
            columns += [cosine]
        else:
            columns += [cosine, sine] if even_phase else [sine, -cosine]
    return numpy.stack(columns, axis=-1)
