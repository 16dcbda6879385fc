import jax.numpy as jnp
from jaxtyping import Array, Inexact


def crop_spectrum(
    spectrum: Inexact[Array, "*batch height width"], shape: tuple[int, int], *, half: bool = False
) -> Inexact[Array, "*batch rows columns"]:
    """Keep the lowest frequencies of a spectrum in the order of ``fft2``.

    The frequencies kept are those of a DFT of ``shape``: along an axis of size ``m`` they are
    ``-(m // 2)`` to ``(m - 1) // 2``. Values are not changed, so that an inverse transform
    normalized by its own size gives amplitudes larger by the ratio of the sizes.

    Args:
        spectrum: Spectrum on the last two axes.
        shape: Height and width of the smaller image.
        half: The spectrum is that of ``rfft2``: the last axis holds ``width // 2 + 1`` columns,
            and so will the result.
    """
    rows, columns = shape
    spectrum = _crop_axis(spectrum, rows, -2)
    return spectrum[..., : columns // 2 + 1] if half else _crop_axis(spectrum, columns, -1)


def pad_spectrum(
    spectrum: Inexact[Array, "*batch height width"], shape: tuple[int, int], *, half: bool = False
) -> Inexact[Array, "*batch rows columns"]:
    """Embed a spectrum in the order of ``fft2`` in a larger one, with zeros at high frequencies.

    The adjoint and right inverse of ``crop_spectrum``: cropping back gives the same spectrum.

    Args:
        spectrum: Spectrum on the last two axes.
        shape: Height and width of the larger image.
        half: The spectrum is that of ``rfft2``, and so will the result be.
    """
    rows, columns = shape
    spectrum = _pad_axis(spectrum, rows, -2)
    if half:
        missing = columns // 2 + 1 - spectrum.shape[-1]
        zeros = jnp.zeros((*spectrum.shape[:-1], missing), spectrum.dtype)
        return jnp.concatenate([spectrum, zeros], axis=-1)
    return _pad_axis(spectrum, columns, -1)


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
