import functools
import warnings
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._answers import cites
from .._precision import in_single_precision
from .._rules import checked, POSITIVE
from .._scale import power_of_two
from .._types import Scalar
from ..process import gaussian_blur
from ._pair import as_pair, keep_within


Pad = Literal[False, "constant", "reflect", "replicate", "circular"]

_WINDOW_SIZE = 11
_WINDOW_STD = 1.5


_CITATION = """@article{wang2004image,
  author = {Wang, Zhou and Bovik, Alan C. and Sheikh, Hamid R. and Simoncelli, Eero P.},
  title = {Image Quality Assessment: From Error Visibility to Structural Similarity},
  journal = {IEEE Transactions on Image Processing},
  volume = {13}, number = {4}, pages = {600--612}, year = {2004},
  doi = {10.1109/TIP.2003.819861}
}"""


@cites(_CITATION)
@checked(data_range=POSITIVE)
@in_single_precision("img1", "img2")
def ssim(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    weighted: bool = False,
    pad: Pad = False,
    *,
    data_range: int | float | Scalar = 1.0,
) -> Scalar:
    """Compute the structural similarity index of two images, averaged over pixels and channels.

    Means, variances and the covariance of the images are compared around each pixel in a Gaussian
    window of 11 x 11 pixels with a standard deviation of 1.5 (Wang, Bovik, Sheikh and Simoncelli,
    "Image quality assessment: from error visibility to structural similarity", IEEE Trans. Image
    Process. 2004). The index is 1 for equal images, near 0 for unrelated ones, and negative, down
    to -1, where one image is the negative of the other. The index is not a distance: minimize
    ``ssim_distance``. It was made for grayscale images; channels are compared separately.

    Args:
        img1: An image, with values from 0 to ``data_range``.
        img2: Another image of the same height, width and dtype, and the same number of channels. An
            image of one channel is compared with every channel of the other.
        weighted: Whether to weight each pixel by the information in its window, ``log((1 + var1 /
            c2) * (1 + var2 / c2))`` (Wang and Simoncelli, "Maximum differentiation (MAD)
            competition", Journal of Vision 2008). If all weights are 0, all pixels count the same.
        pad: How the images are padded at their edges: ``"constant"`` (zeros), ``"reflect"``,
            ``"replicate"`` or ``"circular"``. By default only complete windows count.
        data_range: The largest value that a pixel can have. Both stabilizing constants are relative
            to it: ``c1 = (0.01 * data_range)**2`` and ``c2 = (0.03 * data_range)**2``.

    Raises:
        ValueError: If the shapes are wrong or do not fit, ``pad`` is unknown, or ``data_range`` is
            not positive.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If a value lies outside [0, data_range], which is not checked under a
            transformation of JAX; or if the images are smaller than 11 pixels. The window is then
            as large as the smaller side.

    Example:
        >>> import plenoptax as plx
        >>> brick, grass = plx.data.brick(), plx.data.grass()
        >>> print(f"{ssim(brick, brick):.4f}, {ssim(brick, 0.9 * brick):.4f}")
        1.0000, 0.9911
        >>> print(f"{ssim(brick, grass):.4f}")
        0.0661
    """
    return _ssim(*_as_ssim_arguments(img1, img2, pad, data_range), weighted, pad)


@checked(data_range=POSITIVE)
@in_single_precision("img1", "img2")
def ssim_map(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    *,
    pad: Pad = False,
    data_range: int | float | Scalar = 1.0,
) -> Float[Array, "_channels _rows _columns"]:
    """Compute the structural similarity of two images around each pixel.

    Args:
        img1: An image, with values from 0 to ``data_range``.
        img2: Another image that fits it, as in ``ssim``.
        pad: How the images are padded at their edges, as in ``ssim``.
        data_range: The largest value that a pixel can have.

    Returns:
        The map; its average is ``ssim``. Without padding it lacks 5 pixels on each side.

    Raises:
        ValueError: If an argument is out of range or the shapes do not fit, as in ``ssim``.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If values lie outside [0, data_range] or an image is small, as in ``ssim``.

    Example:
        >>> import plenoptax as plx
        >>> brick = plx.data.brick()
        >>> ssim_map(brick, 0.9 * brick).shape
        (1, 246, 246)
    """
    return _ssim_map(*_as_ssim_arguments(img1, img2, pad, data_range), pad)


@cites(_CITATION)
@checked(data_range=POSITIVE)
@in_single_precision("img1", "img2")
def ssim_distance(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    weighted: bool = False,
    pad: Pad = False,
    *,
    data_range: int | float | Scalar = 1.0,
) -> Scalar:
    """Compute ``1 - ssim``: 0 for equal images, and larger for different ones, to at most 2.

    Args:
        img1: An image, with values from 0 to ``data_range``.
        img2: Another image that fits it, as in ``ssim``.
        weighted: Whether to weight each pixel by the information in its window, as in ``ssim``.
        pad: How the images are padded at their edges, as in ``ssim``.
        data_range: The largest value that a pixel can have.

    Raises:
        ValueError: If an argument is out of range or the shapes do not fit, as in ``ssim``.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If values lie outside [0, data_range] or an image is small, as in ``ssim``.

    Example:
        >>> import plenoptax as plx
        >>> print(f"{ssim_distance(plx.data.brick(), plx.data.brick()):.4f}")
        0.0000
    """
    return 1 - _ssim(*_as_ssim_arguments(img1, img2, pad, data_range), weighted, pad)


def ssim_parts(
    img1: Float[Array, "channel height width"],
    img2: Float[Array, "channel height width"],
    data_range: Scalar,
    *,
    pad: Pad = False,
    weighted: bool = False,
) -> tuple[Array, Array, Array | None]:
    """Compute maps of the index, of contrast and structure alone, and of the weights if asked."""
    # The stabilizing constants are squares, which may not be representable for a small range.
    img1, img2 = img1 / data_range, img2 / data_range
    size = min(_WINDOW_SIZE, *img1.shape[-2:])
    # A common level is subtracted, so that the variances lose fewer digits to the squared means.
    # With zero padding the level is 0, because it would change the zeros beyond the edges.
    level = 0.0 if pad == "constant" else (img1 + img2).mean((-2, -1), keepdims=True) / 2
    level = lax.stop_gradient(level)
    img1, img2 = img1 - level, img2 - level
    maps = [img1, img2, img1 * img2, img1**2 + img2**2] + ([img1**2] if weighted else [])
    pad_mode = "valid" if pad is False else pad
    averages = gaussian_blur(jnp.stack(maps), size, _WINDOW_STD, pad_mode=pad_mode)
    deviation1, deviation2, product, squares = averages[:4]
    # The index depends only on the sum of both variances, so one map serves for both.
    covariance = product - deviation1 * deviation2
    variances = squares - deviation1**2 - deviation2**2
    mean1, mean2 = level + deviation1, level + deviation2
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean1 * mean2 + c1) / (mean1**2 + mean2**2 + c1)
    contrast_structure = (2 * covariance + c2) / (variances + c2)
    weight = None
    if weighted:
        variance1 = averages[4] - deviation1**2
        pair = jnp.stack([variance1, variances - variance1])
        # In windows without contrast, rounding makes variances slightly negative.
        weight = jnp.log1p(jnp.maximum(pair, 0) / c2).sum(0)
    return luminance * contrast_structure, contrast_structure, weight


def warn_of_small_windows(shape: Sequence[int], *, stacklevel: int) -> None:
    """Warn if the images, or their coarsest scale, are smaller than the window."""
    if min(shape[-2:]) < _WINDOW_SIZE:
        warnings.warn(
            f"The window of {_WINDOW_SIZE} x {_WINDOW_SIZE} pixels is larger than the images (or "
            f"one of their scales) of {shape[-2]} x {shape[-1]}. It is cut to the smaller side.",
            stacklevel=stacklevel,
        )


def _as_ssim_arguments(
    img1: Array, img2: Array, pad: Pad, data_range: int | float | Scalar
) -> tuple[Array, Array, Scalar]:
    modes = (False, "constant", "reflect", "replicate", "circular")
    if pad not in modes:
        raise ValueError(f"pad must be one of {list(modes)}, got {pad!r}.")
    first, second = as_pair(img1, img2, data_range, stacklevel=5)
    warn_of_small_windows(first.shape, stacklevel=5)
    return first, second, jnp.asarray(data_range, first.dtype)


@functools.partial(jax.jit, static_argnames=("weighted", "pad"))
def _ssim(img1: Array, img2: Array, data_range: Scalar, weighted: bool, pad: Pad) -> Scalar:
    index, _, weight = ssim_parts(img1, img2, data_range, pad=pad, weighted=weighted)
    if weight is None:
        return keep_within(index.mean(), -1.0, 1.0)
    # Weights are as small as the square of a faint contrast, and their own square would be 0.
    weight = weight / power_of_two(weight.max((-2, -1), keepdims=True))
    total = weight.sum((-2, -1))
    is_flat = total == 0
    average = (index * weight).sum((-2, -1)) / jnp.where(is_flat, 1, total)
    return keep_within(jnp.where(is_flat, index.mean((-2, -1)), average).mean(), -1.0, 1.0)


@functools.partial(jax.jit, static_argnames="pad")
def _ssim_map(img1: Array, img2: Array, data_range: Scalar, pad: Pad) -> Array:
    return keep_within(ssim_parts(img1, img2, data_range, pad=pad)[0], -1.0, 1.0)
