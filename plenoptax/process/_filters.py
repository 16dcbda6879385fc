import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._precision import in_single_precision
from .._rules import checked, COUNT, POSITIVE, SIZES
from ._padding import as_pair


# Johnston (1980), with an even number of taps: halves, mirrored without repetition.
_EVEN_QMF = {
    "qmf8": (0.00938715, -0.07065183, 0.06942827, 0.4899808),
    "qmf12": (-0.003809699, 0.01885659, -0.002710326, -0.08469594, 0.08846992, 0.4843894),
    "qmf16": (
        *(0.001050167, -0.005054526, -0.002589756, 0.0276414),
        *(-0.009666376, -0.09039223, 0.09779817, 0.4810284),
    ),
}

# Simoncelli (1988), with an odd number of taps: halves that end with the middle one.
_ODD_QMF = {
    "qmf5": (-0.076103, 0.3535534, 0.8593118),
    "qmf9": (0.02807382, -0.060944743, -0.073386624, 0.41472545, 0.7973934),
    "qmf13": (
        *(-0.014556438, 0.021651438, 0.039045125, -0.09800052),
        *(-0.057827797, 0.42995453, 0.7737113),
    ),
}

# Daubechies (1988).
_DAUBECHIES = {
    "daub2": (0.482962913145, 0.836516303738, 0.224143868042, -0.129409522551),
    "daub3": (
        *(0.332670552950, 0.806891509311, 0.459877502118),
        *(-0.135011020010, -0.085441273882, 0.035226291882),
    ),
    "daub4": (
        *(0.230377813309, 0.714846570553, 0.630880767930, -0.027983769417),
        *(-0.187034811719, 0.030841381836, 0.032883011667, -0.010597401785),
    ),
}

_BINOMIAL = {"haar": 2, "gauss3": 3, "gauss5": 5}


@checked(kernel_size=COUNT)
@in_single_precision("std")
def gaussian_window(kernel_size: int, std: Float[Array, "*batch"]) -> Float[Array, "*batch taps"]:
    """Sample a Gaussian around the middle of ``kernel_size`` pixels and normalize its sum to 1.

    The outer product of two windows is the isotropic window of ``circular_gaussian2d``, so
    ``gaussian_blur`` applies a Gaussian one axis at a time. The window is differentiable with
    respect to ``std``, and depends only on its absolute value.

    Args:
        kernel_size: Number of samples. With an even number the middle lies between two pixels.
        std: Standard deviations in pixels, one window for each. Values below 0.01 act as 0.01,
            where all the weight already lies on the pixels nearest to the middle.

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
    # The smallest exponent is zero, so the sum cannot underflow, however narrow the window.
    exponents = jnp.asarray((squares - squares.min()) / 2, std.dtype)
    variance = jnp.maximum(jnp.abs(std), 0.01)[..., None] ** 2
    window = jnp.exp(-exponents.reshape((1,) * std.ndim + (kernel_size,)) / variance)
    return window / window.sum(axis=-1, keepdims=True)


@checked(kernel_size=SIZES, std=POSITIVE, out_channels=COUNT)
@in_single_precision("std")
def circular_gaussian2d(
    kernel_size: int | tuple[int, int],
    std: ArrayLike | list[float],
    out_channels: int | None = None,
) -> Float[Array, "channel 1 height width"]:
    """Sample isotropic two-dimensional Gaussians, each with sum 1.

    Use these filters for display or in a convolution. To blur an image use ``gaussian_blur``, which
    never builds them.

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
            values. The sign of a ``std`` traced by JAX is unknown and not checked.

    Example:
        >>> filters = circular_gaussian2d((3, 5), [1.0, 2.0])
        >>> filters.shape
        (2, 1, 3, 5)
        >>> [f"{total:.3f}" for total in filters.sum(axis=(1, 2, 3))]
        ['1.000', '1.000']
    """
    if np.shape(kernel_size) not in ((), (2,)):
        raise ValueError(f"kernel_size must be one number or two, got {kernel_size!r}.")
    height, width = as_pair(kernel_size)
    std = _check_std(std, out_channels)
    vertical, horizontal = gaussian_window(height, std), gaussian_window(width, std)
    return vertical[:, None, :, None] * horizontal[:, None, None, :]


@checked(kernel_size=COUNT, std=POSITIVE)
@in_single_precision("std")
def gaussian1d(
    kernel_size: int = 11, std: ArrayLike | list[float] = 1.5
) -> Float[Array, "*batch taps"]:
    """Sample a one-dimensional Gaussian with sum 1, by default the window of SSIM.

    This is ``gaussian_window`` with checks of its arguments.

    Args:
        kernel_size: Number of samples. With an even number the middle lies between two pixels.
        std: Standard deviation in pixels, or several, with one window for each.

    Returns:
        The window, or the windows, on the last axis.

    Raises:
        ValueError: If ``kernel_size`` is not a positive integer, or ``std`` is not positive. The
            sign of a ``std`` traced by JAX is unknown and not checked.

    Example:
        >>> [f"{weight:.3f}" for weight in gaussian1d(5, 1.0)]
        ['0.054', '0.244', '0.403', '0.244', '0.054']
    """
    windows = gaussian_window(kernel_size, _check_std(std, None))
    return windows if np.shape(std) else windows[0]


def named_filter(filtname: str) -> Float[Array, " taps"]:
    """Return a one-dimensional filter for pyramids, by its name in pyrtools.

    All have a sum of about sqrt(2), so the same filter can analyze and synthesize.

    Args:
        filtname: ``"binomN"`` with ``N`` of at least 2 gives the binomial coefficients of order
            ``N - 1``; ``"gauss3"`` and ``"gauss5"`` are other names of ``"binom3"`` and
            ``"binom5"``. Orthogonal or nearly so, with unit norm: ``"haar"``, ``"daub2"``,
            ``"daub3"``, ``"daub4"`` (Daubechies, Commun. Pure Appl. Math. 1988), the quadrature
            mirror filters ``"qmf8"``, ``"qmf12"``, ``"qmf16"`` (Johnston, ICASSP 1980), and
            ``"qmf5"``, ``"qmf9"``, ``"qmf13"`` (Simoncelli, MIT Media Laboratory Technical Report
            100, 1988).

    Raises:
        ValueError: If the filter name is unknown.

    Example:
        >>> [f"{weight:.3f}" for weight in named_filter("binom3") / 2**0.5]
        ['0.250', '0.500', '0.250']
    """
    return jnp.asarray(filter_taps(filtname))


def filter_taps(filtname: str) -> Float[np.ndarray, " taps"]:
    """Return the filter of ``named_filter`` as a float64 NumPy array, to be scaled exactly."""
    binomial = filtname[5:] if filtname.startswith("binom") else str(_BINOMIAL.get(filtname))
    if binomial.isdecimal() and int(binomial) > 1:
        order = int(binomial) - 1
        taps = [math.comb(order, i) / 2**order for i in range(order + 1)]
    elif filtname in _ODD_QMF:
        half = _ODD_QMF[filtname]
        return np.array(half + half[-2::-1])
    elif filtname in _EVEN_QMF:
        half = _EVEN_QMF[filtname]
        taps = half + half[::-1]
    elif filtname in _DAUBECHIES:
        return np.array(_DAUBECHIES[filtname])
    else:
        names = ["binomN (N > 1)", *_BINOMIAL, *_ODD_QMF, *_EVEN_QMF, *_DAUBECHIES]
        raise ValueError(f"filtname must be one of {', '.join(names)}, got {filtname!r}.")
    return np.sqrt(2) * np.array(taps)


def _check_std(std: ArrayLike | list[float], out_channels: int | None) -> Float[Array, " channel"]:
    array = jnp.asarray(std)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.result_type(float))
    if out_channels is None:
        out_channels = array.size
    if array.ndim == 0:
        array = jnp.full((out_channels,), array)
    if array.shape != (out_channels,):
        raise ValueError(
            f"std must be a scalar or have one value for each of {out_channels} output channels, "
            f"got shape {array.shape}."
        )
    return array
