import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float


def gaussian_window(kernel_size: int, std: Float[Array, "*batch"]) -> Float[Array, "*batch taps"]:
    """Sample a Gaussian around the middle of ``kernel_size`` pixels and normalize its sum to 1.

    The outer product of two windows is the isotropic window of ``circular_gaussian2d``, which is
    why a Gaussian is applied one axis at a time (``gaussian_blur``). The window may be
    differentiated with respect to ``std``, and depends on its absolute value alone.

    Args:
        kernel_size: Number of samples. With an even number the middle lies between two pixels.
        std: Standard deviations in pixels, one window for each. Below 0.01 pixels they act as
            0.01, where all the weight already lies on the pixels nearest to the middle.

    Returns:
        The windows, on the last axis.

    Example:
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> print(np.asarray(gaussian_window(3, jnp.array([0.5, 1.0]))).round(3))
        [[0.107 0.787 0.107]
         [0.274 0.452 0.274]]
    """
    squares = (np.arange(kernel_size) - (kernel_size - 1) / 2) ** 2
    # With the smallest exponent at zero the sum cannot underflow, however narrow the window.
    exponents = jnp.asarray((squares - squares.min()) / 2, std.dtype)
    variance = jnp.maximum(jnp.abs(std), 0.01)[..., None] ** 2
    window = jnp.exp(-exponents.reshape((1,) * std.ndim + (kernel_size,)) / variance)
    return window / window.sum(axis=-1, keepdims=True)


def circular_gaussian2d(
    kernel_size: int | tuple[int, int],
    std: ArrayLike | list[float],
    out_channels: int | None = None,
) -> Float[Array, "channel 1 height width"]:
    """Sample isotropic two-dimensional Gaussians, each with sum 1.

    These are filters to look at, or to give to a convolution. To blur an image use
    ``gaussian_blur``, which never builds them.

    Args:
        kernel_size: Height and width of the filters in pixels, or one number for both. With an
            even number the middle lies between two pixels.
        std: Standard deviations in pixels: a scalar, or one value for each channel.
        out_channels: Number of filters. By default, as many as ``std`` has values.

    Returns:
        The filters, with the axes (output channel, input channel, height, width) of a
        convolution's weights.

    Raises:
        ValueError: If ``kernel_size`` is not one or two positive integers, ``out_channels`` is not
            a positive integer, or ``std`` is not positive or does not have ``out_channels``
            values. A traced ``std`` is not known to be positive and is not checked for that.

    Example:
        >>> filters = circular_gaussian2d((3, 5), [1.0, 2.0])
        >>> filters.shape
        (2, 1, 3, 5)
        >>> [f"{total:.3f}" for total in filters.sum(axis=(1, 2, 3))]
        ['1.000', '1.000']
    """
    height, width = _check_kernel_size(kernel_size)
    std = _check_std(std, out_channels)
    vertical, horizontal = gaussian_window(height, std), gaussian_window(width, std)
    return vertical[:, None, :, None] * horizontal[:, None, None, :]


def _check_kernel_size(kernel_size: int | tuple[int, int]) -> tuple[int, int]:
    sizes = np.atleast_1d(np.asarray(kernel_size))
    if sizes.shape not in ((1,), (2,)) or sizes.dtype.kind not in "iu" or sizes.min() < 1:
        raise ValueError(f"kernel_size must be one or two positive integers, got {kernel_size!r}.")
    return int(sizes[0]), int(sizes[-1])


def _check_std(std: ArrayLike | list[float], out_channels: int | None) -> Float[Array, " channel"]:
    array = jnp.asarray(std)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.result_type(float))
    try:
        positive = bool(np.all(np.asarray(std) > 0))
    except jax.errors.TracerArrayConversionError:
        positive = True
    if not positive:
        raise ValueError(f"std must be positive, in pixels, got {std}.")
    if out_channels is None:
        out_channels = array.size
    if isinstance(out_channels, bool) or not isinstance(out_channels, int) or out_channels < 1:
        raise ValueError(f"out_channels must be a positive integer, got {out_channels!r}.")
    if array.ndim == 0:
        array = jnp.full((out_channels,), array)
    if array.shape != (out_channels,):
        raise ValueError(
            f"std must be a scalar or have one value for each of {out_channels} output channels, "
            f"got shape {array.shape}."
        )
    return array
