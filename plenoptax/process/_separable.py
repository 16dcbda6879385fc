"""Separable filtering, by products with small banded matrices or by an FFT."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from ._padding import pad, same_padding


# Up to this size, one product with one matrix for the entire axis is as fast as several products
# with small matrices, and compiles faster.
_LARGEST_MATRIX = 128

# Pixels that one product computes, along the axis of the window. Smaller blocks give too many small
# products, larger blocks multiply by more zeros. Median ms of the value and gradient of a blur,
# float32, 2 CPU cores: matrix for the entire axis / FFT / blocks of 16, 32, 64:
# 31 taps, 256: 0.78 / 0.82 / 0.81, 0.67, 0.68; 512: 2.7 / 2.3 / 1.2, 1.1, 1.1;
# 1024: 22 / 10 / 7.4, 4.6, 4.7. 11 taps, five windows, 256: 2.3 / 1.5 / 1.0, 0.9, 1.7.
_BLOCK = 32

# Windows of more taps use an FFT, whose time hardly depends on the number of taps.
_MOST_TAPS = 128


def correlate_axes(
    image: Float[Array, "*batch height width"],
    vertical: Float[Array, "*channel vertical_taps"],
    horizontal: Float[Array, "*channel horizontal_taps"],
    pad_mode: str,
    stride: int,
) -> Float[Array, "*broadcast rows columns"]:
    """Compute `correlate_separable` without checks of the arguments."""
    taps = vertical.shape[-1], horizontal.shape[-1]
    if max(taps) > _MOST_TAPS:
        padded = image if pad_mode == "valid" else same_padding(image, taps, pad_mode=pad_mode)
        return _correlate_fft(padded, vertical, horizontal)[..., ::stride, ::stride]
    rows = _correlate_rows(image, vertical, pad_mode, stride)
    return _correlate_columns(rows, horizontal, pad_mode, stride)


def band_matrix(
    window: Float[Array, "*channel taps"], padded: int
) -> Float[Array, "*channel rows padded"]:
    """Return the matrix that correlates ``padded`` pixels with a window."""
    rows = padded - window.shape[-1] + 1
    leading = window.shape[:-1]
    # A sequence of period ``padded + 1`` is cut into rows of ``padded`` numbers. Each row holds the
    # window one place further to the right. This is cheaper than a scatter or a gather.
    zeros = jnp.zeros((*leading, padded + 1 - window.shape[-1]), window.dtype)
    period = jnp.concatenate([window, zeros], axis=-1)
    return jnp.tile(period, rows)[..., : rows * padded].reshape(*leading, rows, padded)


def multiply(left: Array, right: Array) -> Array:
    """Multiply matrices in the precision of their dtype."""
    # The default precision of accelerators would round the pixels to 8 or 11 bits.
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def fold(
    band: Float[Array, "*channel rows padded"], size: int, pads: tuple[int, int], pad_mode: str
) -> Float[Array, "*channel rows size"]:
    """Return the matrix for the unpadded image, given the matrix for the padded image."""
    # The adjoint of padding adds the weight of each padding pixel to the pixel that it repeats.
    unpadded = jax.ShapeDtypeStruct((*band.shape[:-1], size), band.dtype)
    transpose = jax.linear_transpose(lambda rows: pad(rows, [pads], pad_mode), unpadded)
    return transpose(band)[0]


def _correlate_rows(image: Array, window: Array, pad_mode: str, stride: int) -> Array:
    size, taps = image.shape[-2], window.shape[-1]
    if size <= _LARGEST_MATRIX:
        return multiply(_whole_matrix(window, size, pad_mode, stride), image)
    if pad_mode != "valid":
        image = same_padding(image, (taps, 1), pad_mode=pad_mode)
    block, kept = _block_size(stride), _num_responses(image.shape[-2], taps, stride)
    band = band_matrix(window, block + taps - 1)[..., None, ::stride, :]
    rows = multiply(band, _overlapping_blocks(image, image.ndim - 2, block, taps - 1))
    return rows.reshape(*rows.shape[:-3], -1, rows.shape[-1])[..., :kept, :]


def _correlate_columns(image: Array, window: Array, pad_mode: str, stride: int) -> Array:
    size, taps = image.shape[-1], window.shape[-1]
    if size <= _LARGEST_MATRIX:
        return multiply(image, _whole_matrix(window, size, pad_mode, stride).mT)
    if pad_mode != "valid":
        image = same_padding(image, (1, taps), pad_mode=pad_mode)
    block, kept = _block_size(stride), _num_responses(image.shape[-1], taps, stride)
    band = band_matrix(window, block + taps - 1)[..., ::stride, :]
    blocks = _overlapping_blocks(image, image.ndim - 1, block, taps - 1)
    height, number, width = blocks.shape[-3:]
    # The same matrix for all blocks: one product.
    columns = multiply(blocks.reshape(*blocks.shape[:-3], height * number, width), band.mT)
    return columns.reshape(*columns.shape[:-2], height, -1)[..., :kept]


def _whole_matrix(
    window: Float[Array, "*channel taps"], size: int, pad_mode: str, stride: int
) -> Float[Array, "*channel rows size"]:
    taps = window.shape[-1]
    pads = (0, 0) if pad_mode == "valid" else ((taps - 1) // 2, taps // 2)
    band = band_matrix(window, pads[0] + size + pads[1])[..., ::stride, :]
    return band if pad_mode == "valid" else fold(band, size, pads, pad_mode)


def _block_size(stride: int) -> int:
    return stride * -(-_BLOCK // stride)


def _num_responses(padded: int, taps: int, stride: int) -> int:
    return -(-(padded - taps + 1) // stride)


def _overlapping_blocks(image: Array, axis: int, block: int, overlap: int) -> Array:
    """Split an axis into blocks, each extended by the first pixels that follow it.

    All blocks are joined at once with the pixels that follow them. The adjoint of this is a few
    sums, while the adjoint of cutting out each block is a sum of one image per block.
    """
    number = -(-(image.shape[axis] - overlap) // block)
    following = -(-overlap // block)
    pads = [(0, 0)] * image.ndim
    pads[axis] = (0, (number + following) * block - image.shape[axis])
    shape = (*image.shape[:axis], number + following, block, *image.shape[axis + 1 :])
    split = jnp.pad(image, pads).reshape(shape)
    parts = [jax.lax.slice_in_dim(split, i, i + number, axis=axis) for i in range(following + 1)]
    if following:
        rest = overlap - (following - 1) * block
        parts[-1] = jax.lax.slice_in_dim(parts[-1], 0, rest, axis=axis + 1)
    return jnp.concatenate(parts, axis=axis + 1)


def _correlate_fft(
    image: Float[Array, "*batch height width"],
    vertical: Float[Array, "*channel vertical_taps"],
    horizontal: Float[Array, "*channel horizontal_taps"],
) -> Float[Array, "*broadcast rows columns"]:
    shape = fast_shape(image)
    rows = jnp.fft.fft(vertical, shape[0]).conj()[..., :, None]
    columns = jnp.fft.rfft(horizontal, shape[1]).conj()[..., None, :]
    return multiply_spectrum(
        image, rows * columns, shape, (vertical.shape[-1], horizontal.shape[-1])
    )


def multiply_spectrum(
    image: Float[Array, "*batch height width"],
    factor: Complex[Array, "*channel frequencies half_frequencies"],
    shape: tuple[int, int],
    taps: tuple[int, int],
) -> Float[Array, "*broadcast rows columns"]:
    """Multiply the spectrum of an image, and keep the pixels that padding does not reach.

    Args:
        image: Image.
        factor: The conjugate of the spectrum of a window, in the format of ``rfft2``.
        shape: The size of the FFT.
        taps: Height and width of the window.
    """
    filtered = jnp.fft.irfft2(jnp.fft.rfft2(image, s=shape) * factor, s=shape)
    height, width = image.shape[-2:]
    return filtered[..., : height - taps[0] + 1, : width - taps[1] + 1]


def fast_shape(image: Float[Array, "*batch height width"]) -> tuple[int, int]:
    """Return the smallest size of a fast FFT that has room for an image."""
    return _fast_length(image.shape[-2]), _fast_length(image.shape[-1])


def _fast_length(size: int) -> int:
    # An FFT of 1054 = 2 * 17 * 31 points takes about twice the time of one of 1080.
    remainder = size
    for factor in (2, 3, 5):
        while remainder % factor == 0:
            remainder //= factor
    return size if remainder == 1 else _fast_length(size + 1)
