from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._precision import in_single_precision
from .._rules import checked, COUNT, SIZES, Whole
from ._dense import correlate_dense
from ._filters import filter_taps, gaussian_window
from ._padding import as_pair, same_padding
from ._separable import band_matrix, correlate_axes, fold, multiply


@checked(stride=COUNT)
@in_single_precision("image")
def correlate_separable(
    image: Float[Array, "*batch height width"],
    vertical: Float[Array, "*channel vertical_taps"],
    horizontal: Float[Array, "*channel horizontal_taps"],
    *,
    pad_mode: str = "reflect",
    stride: int = 1,
) -> Float[Array, "*broadcast rows columns"]:
    """Correlate an image with the outer product of a vertical and a horizontal window.

    All separable filters of the package use this function. It multiplies by banded matrices, or
    uses an FFT for windows of more than 128 taps. It avoids convolution primitives because they are
    slow on the CPU, especially in a loop.

    Args:
        image: Image, with leading axes for channels and maps.
        vertical: Weights along the height.
        horizontal: Weights along the width. The leading axes of both windows are broadcast against
            those of the image: one image with ``n`` windows gives ``n`` channels, and ``n``
            channels with ``n`` windows are each filtered with their own window.
        pad_mode: A mode of ``same_padding``, or ``"valid"`` to keep only pixels whose entire
            neighborhood lies inside the image.
        stride: Keep every ``stride``-th row and column of the result, starting with the first.

    Returns:
        The filtered image, of the same height and width except with ``"valid"`` or a stride.

    Raises:
        ValueError: If ``pad_mode`` is unknown, or it is ``"valid"`` and the image is smaller than
            the window.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.eye(3)[None]
        >>> correlate_separable(image, jnp.ones(3), jnp.ones(1), pad_mode="constant").tolist()
        [[[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]]
    """
    rank = max(image.ndim, vertical.ndim + 1, horizontal.ndim + 1)
    image = _with_rank(image, rank)
    vertical = _with_rank(jnp.asarray(vertical, image.dtype), rank - 1)
    horizontal = _with_rank(jnp.asarray(horizontal, image.dtype), rank - 1)
    if pad_mode == "valid":
        _check_room(image, vertical.shape[-1], horizontal.shape[-1])
    return correlate_axes(image, vertical, horizontal, pad_mode, stride)


@in_single_precision("image")
def correlate(
    image: Float[Array, "*batch height width"],
    filt: Float[Array, "*channel vertical_taps horizontal_taps"],
    *,
    pad_mode: str = "reflect",
) -> Float[Array, "*broadcast rows columns"]:
    """Correlate an image with filters that need not be separable.

    Filters of at most 49 pixels are applied directly, larger ones by an FFT. Derivatives always use
    an FFT, which is faster there. This function is safe inside compiled loops, where convolutions
    over several channels are slow on the CPU.

    Args:
        image: Image, with leading axes for channels and maps.
        filt: Filters. Their leading axes are broadcast against those of the image, as in
            ``correlate_separable``, which is faster for outer products of windows.
        pad_mode: A mode of ``same_padding``, or ``"valid"`` to keep only pixels whose entire
            neighborhood lies inside the image.

    Returns:
        The filtered image, of the same height and width except with ``"valid"``.

    Raises:
        ValueError: If ``pad_mode`` is unknown, or it is ``"valid"`` and the image is smaller than
            the filter; or ``filt`` has fewer than two axes.

    Example:
        >>> import jax.numpy as jnp
        >>> filters = jnp.ones((4, 3, 3)) / 9
        >>> correlate(jnp.ones((1, 8, 8)), filters).shape
        (4, 8, 8)
    """
    if jnp.ndim(filt) < 2:
        raise ValueError(
            f"filt must have at least two axes, got shape {jnp.shape(filt)}. Use "
            "correlate_separable for one-dimensional windows."
        )
    rank = max(image.ndim, jnp.ndim(filt))
    image, filt = _with_rank(image, rank), _with_rank(jnp.asarray(filt, image.dtype), rank)
    taps = filt.shape[-2], filt.shape[-1]
    if pad_mode == "valid":
        _check_room(image, *taps)
    else:
        image = same_padding(image, taps, pad_mode=pad_mode)
    return correlate_dense(image, filt)


@checked(kernel_size=SIZES)
@in_single_precision("image")
def gaussian_blur(
    image: Float[Array, "*batch height width"],
    kernel_size: int | tuple[int, int],
    std: ArrayLike,
    *,
    pad_mode: str = "reflect",
) -> Float[Array, "*broadcast rows columns"]:
    """Blur an image with an isotropic Gaussian window of sum 1.

    Args:
        image: Image, with leading axes for channels and maps.
        kernel_size: Height and width of the window in pixels, or one number for both.
        std: Standard deviation in pixels. An array is broadcast against the leading axes of the
            image. It may be traced by JAX, differentiated and mapped over.
        pad_mode: How the image is padded at its edges, as in ``correlate_separable``.

    Returns:
        The blurred image, in the dtype of the image.

    Example:
        >>> import jax.numpy as jnp
        >>> gaussian_blur(jnp.ones((1, 16, 16)), 7, jnp.array([1.0, 2.0])).shape
        (2, 16, 16)
        >>> gaussian_blur(jnp.ones((1, 16, 16)), 7, 1.5, pad_mode="valid").shape
        (1, 10, 10)
    """
    height, width = as_pair(kernel_size)
    std = jnp.asarray(std, image.dtype)
    vertical, horizontal = gaussian_window(height, std), gaussian_window(width, std)
    return correlate_separable(image, vertical, horizontal, pad_mode=pad_mode)


@in_single_precision("image")
def correlate_downsample(
    image: Float[Array, "*batch height width"],
    filt: Float[Array, "vertical_taps horizontal_taps"],
    padding_mode: str = "reflect",
) -> Float[Array, "*batch rows columns"]:
    """Correlate an image with a filter, and keep every second row and column from the first on.

    Args:
        image: Image; leading axes are kept.
        filt: Two-dimensional filter. If it is an outer product of windows,
            ``correlate_separable`` with ``stride=2`` does the same in less time.
        padding_mode: A mode of ``same_padding``.

    Returns:
        The filtered image, of half the height and width, rounded up.

    Raises:
        ValueError: If ``padding_mode`` is unknown or ``filt`` does not have two axes.

    Example:
        >>> import jax.numpy as jnp
        >>> correlate_downsample(jnp.ones((1, 4, 7)), jnp.ones((3, 3)) / 9).shape
        (1, 2, 4)
    """
    rows = _check_filter(image, filt)
    responses = correlate_separable(
        image[..., None, :, :], jnp.eye(len(rows)), rows, pad_mode=padding_mode, stride=2
    )
    return responses.sum(axis=-3)


@checked(odd=Whole(0, several=True))
@in_single_precision("image")
def upsample_convolve(
    image: Float[Array, "*batch height width"],
    odd: Sequence[int],
    filt: Float[Array, "vertical_taps horizontal_taps"],
    padding_mode: str = "reflect",
) -> Float[Array, "*batch rows columns"]:
    """Insert zeros between the pixels of an image, and convolve it with a filter.

    Except at the border, this is the adjoint of ``correlate_downsample``: the filter is flipped,
    and each pixel returns to its position before downsampling.

    Args:
        image: Image; leading axes are kept.
        odd: Whether the height and the width of the result are odd, each 0 or 1: an axis of ``n``
            pixels becomes one of ``2 * n - odd``.
        filt: Two-dimensional filter.
        padding_mode: A mode of ``same_padding``. The image is padded before the zeros are
            inserted; if an odd number of pixels is missing, the last one is 0.

    Raises:
        ValueError: If ``padding_mode`` is unknown, ``filt`` does not have two axes, or ``odd`` is
            not two numbers of 0 or 1.

    Example:
        >>> import jax.numpy as jnp
        >>> upsample_convolve(jnp.ones((1, 4, 7)), (0, 1), jnp.ones((3, 3))).shape
        (1, 8, 13)
    """
    rows = _check_filter(image, filt)
    eye = jnp.eye(len(rows), dtype=image.dtype)
    responses = _upsample_separable(image[..., None, :, :], odd, eye, rows, padding_mode)
    return responses.sum(axis=-3)


@checked(n_scales=COUNT)
@in_single_precision("image")
def blur_downsample(
    image: Float[Array, "*batch height width"],
    n_scales: int = 1,
    filtname: str = "binom5",
    scale_filter: bool = True,
) -> Float[Array, "*batch rows columns"]:
    """Blur an image and halve its height and width, rounded up, ``n_scales`` times.

    Borders are mirrored without repeating the edge.

    Args:
        image: Image; leading axes are kept.
        n_scales: Number of times to blur and halve.
        filtname: A filter of ``named_filter``, applied along both axes.
        scale_filter: Whether to scale the two-dimensional filter to a sum of 1, which keeps the
            mean. Otherwise its sum is 2, as ``named_filter`` gives it.

    Raises:
        ValueError: If ``n_scales`` is not positive or the filter name is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> blur_downsample(jnp.ones((1, 9, 12)), 2).shape
        (1, 3, 3)
    """
    window = jnp.asarray(_scaled_taps(filtname, 0.5 if scale_filter else 1), image.dtype)
    for _ in range(n_scales):
        image = correlate_separable(image, window, window, stride=2)
    return image


@checked(odd=Whole(0, several=True), n_scales=COUNT)
@in_single_precision("image")
def upsample_blur(
    image: Float[Array, "*batch height width"],
    odd: Sequence[int],
    n_scales: int = 1,
    filtname: str = "binom5",
    scale_filter: bool = True,
) -> Float[Array, "*batch rows columns"]:
    """Double the height and width of an image and blur it, ``n_scales`` times.

    Args:
        image: Image; leading axes are kept.
        odd: Whether the height and the width are odd after each doubling, each 0 or 1.
        n_scales: Number of times to double and blur.
        filtname: A filter of ``named_filter``, applied along both axes.
        scale_filter: Whether to scale the two-dimensional filter to a sum of 4, which keeps the
            mean, because three of four pixels are zeros when it is applied. Otherwise its sum is 2.

    Raises:
        ValueError: If ``n_scales`` is not positive, the filter name is unknown, or ``odd`` is not
            two numbers of 0 or 1.

    Example:
        >>> import jax.numpy as jnp
        >>> upsample_blur(jnp.ones((1, 3, 3)), (0, 1)).shape
        (1, 6, 5)
    """
    window = jnp.asarray(_scaled_taps(filtname, 2 if scale_filter else 1), image.dtype)
    for _ in range(n_scales):
        image = _upsample_separable(image, odd, window, window, "reflect")
    return image


def _upsample_separable(
    image: Float[Array, "*batch height width"],
    odd: Sequence[int],
    vertical: Float[Array, "*channel vertical_taps"],
    horizontal: Float[Array, "*channel horizontal_taps"],
    pad_mode: str,
) -> Float[Array, "*broadcast rows columns"]:
    parity = tuple(odd)
    if len(parity) != 2 or not {0, 1}.issuperset(parity):
        raise ValueError(
            "odd must be two numbers, each 1 for an odd and 0 for an even height and width of the "
            f"result, got {odd!r}."
        )
    left = _upsampling_matrix(vertical, image.shape[-2], parity[0], pad_mode)
    right = _upsampling_matrix(horizontal, image.shape[-1], parity[1], pad_mode)
    left, right = _with_rank(left, image.ndim), _with_rank(right, image.ndim)
    return multiply(multiply(left, image), right.mT)


def _check_room(image: Array, rows: int, columns: int) -> None:
    height, width = image.shape[-2:]
    if height < rows or width < columns:
        raise ValueError(
            f"The image must be at least as large as the window of {rows} x {columns} pixels, "
            f"got {height} x {width}. Use a smaller kernel, or a pad_mode other than 'valid'."
        )


def _check_filter(image: Array, filt: Array) -> Array:
    if jnp.ndim(filt) != 2:
        raise ValueError(
            f"filt must have two axes, got shape {jnp.shape(filt)}. Use correlate_separable for "
            "one-dimensional windows."
        )
    return jnp.asarray(filt, image.dtype)


def _scaled_taps(filtname: str, scale: float) -> np.ndarray:
    return np.sqrt(scale) * filter_taps(filtname)


def _upsampling_matrix(
    window: Float[Array, "*channel taps"], size: int, odd: int, pad_mode: str
) -> Float[Array, "*channel rows size"]:
    taps = window.shape[-1]
    pads = taps // 2, taps - odd - taps // 2
    # Half of the padding is pixels, added before zeros are inserted; an odd remainder is zeros.
    inner = pads[0] // 2, pads[1] // 2
    padded = 2 * (inner[0] + size + inner[1]) - 1 + pads[0] % 2 + pads[1] % 2
    band = band_matrix(window[..., ::-1], padded)[..., pads[0] % 2 :: 2]
    return fold(band, size, inner, pad_mode)


def _with_rank(array: Array, rank: int) -> Array:
    return array.reshape((1,) * (rank - array.ndim) + array.shape)
