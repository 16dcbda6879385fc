"""Filters that need not be separable, applied directly or by an FFT."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from ._separable import fast_shape, multiply_spectrum


# Larger filters use an FFT, whose time hardly depends on the number of pixels of the filter.
# docs/decisions.md has the measurements.
_MOST_PIXELS = 49


def correlate_dense(
    image: Float[Array, "*batch height width"],
    filt: Float[Array, "*channel vertical_taps horizontal_taps"],
) -> Float[Array, "*broadcast rows columns"]:
    """Compute `correlate` without padding; image and filter have the same number of axes."""
    is_small = filt.shape[-2] * filt.shape[-1] <= _MOST_PIXELS
    return _correlate_directly(image, filt) if is_small else _correlate_fft(image, filt)


# XLA transposes a sum of shifted images into a sum of padded ones, which takes up to ten times as
# long as the FFTs do. Therefore only responses without derivatives are computed directly.
@jax.custom_jvp
def _correlate_directly(image: Array, filt: Array) -> Array:
    rows = image.shape[-2] - filt.shape[-2] + 1
    columns = image.shape[-1] - filt.shape[-1] + 1
    terms = [
        filt[..., i, j, None, None] * image[..., i : i + rows, j : j + columns]
        for i in range(filt.shape[-2])
        for j in range(filt.shape[-1])
    ]
    return sum(terms[1:], start=terms[0])


def _differentiate(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    image, filt = primals
    response = _correlate_fft(image, filt)
    pairs = [(tangents[0], filt), (image, tangents[1])]
    changes = [
        _correlate_fft(*pair)
        for pair in pairs
        if not any(isinstance(one, SymbolicZero) for one in pair)
    ]
    return response, sum(changes, start=jnp.zeros_like(response))


_correlate_directly.defjvp(_differentiate, symbolic_zeros=True)


def _correlate_fft(image: Array, filt: Array) -> Array:
    shape = fast_shape(image)
    factor = jnp.fft.rfft2(filt, s=shape).conj()
    return multiply_spectrum(image, factor, shape, (filt.shape[-2], filt.shape[-1]))
