from math import isclose

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Complex, Float, Inexact

from .._precision import in_single_precision
from .._rules import checked, NUMBER, Real


def crop_spectrum(
    spectrum: Inexact[Array, "*batch height width"], shape: tuple[int, int], *, half: bool = False
) -> Inexact[Array, "*batch rows columns"]:
    """Keep the lowest frequencies of a spectrum in the order of ``fft2``.

    The frequencies kept are those of a DFT of ``shape``: along an axis of size ``m`` they are
    ``-(m // 2)`` to ``(m - 1) // 2``. Values do not change, so an inverse transform normalized by
    its own size gives amplitudes larger by the ratio of the sizes.

    Args:
        spectrum: Spectrum on the last two axes.
        shape: Height and width of the smaller image.
        half: Whether the spectrum is from ``rfft2``: the last axis then holds ``width // 2 + 1``
            columns, in the result too.
    """
    rows, columns = shape
    spectrum = _crop_axis(spectrum, rows, -2)
    return spectrum[..., : columns // 2 + 1] if half else _crop_axis(spectrum, columns, -1)


def pad_spectrum(
    spectrum: Inexact[Array, "*batch height width"], shape: tuple[int, int], *, half: bool = False
) -> Inexact[Array, "*batch rows columns"]:
    """Embed a spectrum in the order of ``fft2`` in a larger one, with zeros at high frequencies.

    This is the adjoint and right inverse of ``crop_spectrum``: cropping gives the spectrum back.

    Args:
        spectrum: Spectrum on the last two axes.
        shape: Height and width of the larger image.
        half: Whether the spectrum and the result are in the format of ``rfft2``.
    """
    rows, columns = shape
    spectrum = _pad_axis(spectrum, rows, -2)
    if half:
        missing = columns // 2 + 1 - spectrum.shape[-1]
        zeros = jnp.zeros((*spectrum.shape[:-1], missing), spectrum.dtype)
        return jnp.concatenate([spectrum, zeros], axis=-1)
    return _pad_axis(spectrum, columns, -1)


@checked(factor=Real(above=1))
@in_single_precision("x")
def expand(
    x: Inexact[Array, "*batch height width"], factor: int | float
) -> Inexact[Array, "*batch rows columns"]:
    """Enlarge images by zero-padding their spectrum, so that ``shrink`` restores them.

    Along an axis of even size, the Nyquist frequency is divided equally between its positive and
    its negative copy. This is the smoothest interpolation; every image is interpolated exactly.
    (plenoptic mirrors one of the halves, and loses its odd part.)

    Args:
        x: Images, real or complex.
        factor: The ratio of the new to the old size, above 1. The new sizes must be integers.

    Returns:
        The images, of ``factor`` times the size, real if ``x`` is real.

    Raises:
        ValueError: If ``factor`` is 1 or less, or a new size is not an integer.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import expand
        >>> expand(jnp.ones((4, 8)), 1.5).shape
        (6, 12)
    """
    shape = _scaled_shape(x, factor, 1.0)
    spectrum = jnp.fft.fft2(x)
    for axis, size in ((-2, shape[0]), (-1, shape[1])):
        given = spectrum.shape[axis]
        padded = _pad_axis(spectrum, size, axis)
        if given % 2 == 0:
            # In fft2 order, the frequency -k has the index -k, which is also size - k.
            nyquist = _row(padded, size - given // 2, axis) / 2
            padded = _with_row(padded, nyquist, size - given // 2, axis)
            padded = _with_row(padded, nyquist, given // 2, axis)
        spectrum = padded
    return _like(jnp.fft.ifft2(spectrum * _ratio(shape, x)), x)


@checked(factor=Real(above=1))
@in_single_precision("x")
def shrink(
    x: Inexact[Array, "*batch height width"], factor: int | float
) -> Inexact[Array, "*batch rows columns"]:
    """Reduce images by cropping their spectrum, which undoes ``expand``.

    Frequencies that do not fit are dropped, so there is no aliasing, but edges cause ripples: an
    image in [0, 1] can leave this range by some percent. Clip it before you give it to a synthesis.
    Along an axis of even new size, the new Nyquist frequency is the sum of the positive and the
    negative one of ``x``, because the samples cannot distinguish them. (plenoptic takes their
    mean.)

    Args:
        x: Images, real or complex.
        factor: The ratio of the old to the new size, above 1. The new sizes must be integers.

    Returns:
        The images, of ``1 / factor`` times the size, real if ``x`` is real.

    Raises:
        ValueError: If ``factor`` is 1 or less, or a new size is not an integer.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import expand, shrink
        >>> image = jnp.eye(4)
        >>> bool(jnp.allclose(shrink(expand(image, 2), 2), image, atol=1e-6))
        True
    """
    shape = _scaled_shape(x, factor, -1.0)
    spectrum = jnp.fft.fft2(x)
    for axis, size in ((-2, shape[0]), (-1, shape[1])):
        cropped = _crop_axis(spectrum, size, axis)
        if size % 2 == 0:
            given = spectrum.shape[axis]
            both = _row(spectrum, size // 2, axis) + _row(spectrum, given - size // 2, axis)
            cropped = _with_row(cropped, both, size // 2, axis)
        spectrum = cropped
    return _like(jnp.fft.ifft2(spectrum * _ratio(shape, x)), x)


@in_single_precision("x")
def autocorrelation(
    x: Float[Array, "*batch height width"],
) -> Float[Array, "*batch height width"]:
    """Compute the circular autocorrelation: the mean product of an image and its shifted copies.

    The lag of zero is in the center, at ``(height // 2, width // 2)``. The mean is not subtracted,
    so the value there is the variance only if the mean of the image is zero.

    Args:
        x: Images.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import autocorrelation
        >>> stripes = jnp.tile(jnp.asarray([1.0, -1.0]), (2, 2))
        >>> autocorrelation(stripes)[1]
        Array([ 1., -1.,  1., -1.], dtype=float32)
    """
    spectrum = jnp.fft.rfft2(x)
    power = jnp.fft.irfft2(spectrum.real**2 + spectrum.imag**2, s=x.shape[-2:])
    return jnp.fft.fftshift(power, axes=(-2, -1)) / (x.shape[-2] * x.shape[-1])


@checked(phase_factor=NUMBER)
def modulate_phase(
    x: Complex[Array, "*batch height width"], phase_factor: int | float = 2
) -> Complex[Array, "*batch height width"]:
    """Multiply the phase of a complex signal, and keep its amplitude.

    A factor of 2 makes the phase of a band comparable with that of the next finer scale
    (Portilla and Simoncelli, IJCV 2000). Where the amplitude is zero, value and gradient are zero.

    Args:
        x: Complex signal, such as bands of a complex steerable pyramid.
        phase_factor: The factor of the phase. If it is not an integer, it multiplies phases in
            (-pi, pi], so the result jumps where these jump.

    Raises:
        TypeError: If ``x`` is real.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import modulate_phase
        >>> modulate_phase(jnp.asarray([[2j, 0j]]))
        Array([[-2.+0.j,  0.+0.j]], dtype=complex64)
    """
    if not jnp.iscomplexobj(x):
        raise TypeError(f"x must be a complex signal, got {x.dtype}.")
    power = x.real**2 + x.imag**2
    # Squares below the smallest normal number are rounded to zero on most devices.
    nonzero = power > jnp.finfo(power.dtype).tiny
    amplitude = jnp.sqrt(jnp.where(nonzero, power, 1))
    amplitude = amplitude.astype(x.dtype)
    direction = jnp.where(nonzero, x, 1) / amplitude
    if float(phase_factor).is_integer():
        modulated = direction ** int(phase_factor)
    else:
        phase = phase_factor * jnp.angle(direction)
        modulated = lax.complex(jnp.cos(phase), jnp.sin(phase))
    return jnp.where(nonzero, amplitude * modulated, 0)


def _crop_axis(spectrum: Array, size: int, axis: int) -> Array:
    if size == spectrum.shape[axis]:
        return spectrum
    start, stop = (size + 1) // 2, spectrum.shape[axis] - size // 2
    positive, negative = jnp.split(spectrum, [start, stop], axis)[::2]
    return jnp.concatenate([positive, negative], axis)


def _pad_axis(spectrum: Array, size: int, axis: int) -> Array:
    given = spectrum.shape[axis]
    shape = list(spectrum.shape)
    shape[axis] = size - given
    positive, negative = jnp.split(spectrum, [(given + 1) // 2], axis)
    return jnp.concatenate([positive, jnp.zeros(shape, spectrum.dtype), negative], axis)


def _row(spectrum: Array, index: int, axis: int) -> Array:
    return lax.slice_in_dim(spectrum, index, index + 1, axis=axis)


def _with_row(spectrum: Array, row: Array, index: int, axis: int) -> Array:
    return lax.dynamic_update_slice_in_dim(spectrum, row, index, axis=axis)


def _scaled_shape(x: Array, factor: int | float, exponent: float) -> tuple[int, int]:
    exact = [size * factor**exponent for size in x.shape[-2:]]
    shape = round(exact[0]), round(exact[1])
    if not all(map(isclose, exact, shape)):
        raise ValueError(
            f"The new height and width must be integers, got {exact[0]} and {exact[1]} from "
            f"{x.shape[-2]} and {x.shape[-1]} with factor {factor}."
        )
    return shape


def _ratio(shape: tuple[int, int], x: Array) -> float:
    return shape[0] * shape[1] / (x.shape[-2] * x.shape[-1])


def _like(result: Array, x: Array) -> Array:
    return result if jnp.iscomplexobj(x) else result.real
