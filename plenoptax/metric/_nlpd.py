import functools
from typing import final, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._answers import cites
from .._axes import warn_of_axes
from .._function import AbstractFunction
from .._precision import in_single_precision
from .._rules import checked, NOT_NEGATIVE
from .._safe import safe_sqrt
from .._types import Scalar
from ..process import correlate_separable, LaplacianPyramid
from ._pair import as_pair


Variant = Literal["plenoptic", "matlab"]

# Fitted by Laparra et al. (2016) to make responses to photographs less dependent. Each value of a
# scale is divided by the first number plus weighted magnitudes around it: (row, column, weight).
_NORMALIZATION = (
    (
        0.0248,
        ((-1, 0, 0.1011), (0, -1, 0.1493), (0, 1, 0.1460), (0, 2, 0.0072), (1, 0, 0.1015)),
    ),
    (0.0185, ((-1, 0, 0.0757), (0, -1, 0.1986), (0, 1, 0.1846), (1, 0, 0.0837))),
    (0.0179, ((-1, 0, 0.0477), (0, -1, 0.2138), (0, 1, 0.2243), (1, 0, 0.0467))),
    (0.0191, ((0, -1, 0.2503), (0, 1, 0.2616))),
    (0.0220, ((0, -1, 0.2598), (0, 1, 0.2552))),
    (0.2782, ((0, -1, 0.2215), (0, 1, 0.0717))),
)
_REACH = 2


_CITATION = """@inproceedings{laparra2016perceptual,
  author = {Laparra, Valero and Ball{\\'e}, Johannes and Berardino, Alexander and
            Simoncelli, Eero P.},
  title = {Perceptual Image Quality Assessment Using a Normalized {L}aplacian Pyramid},
  booktitle = {Human Vision and Electronic Imaging},
  year = {2016}
}"""


@cites(_CITATION)
@checked(epsilon=NOT_NEGATIVE)
@in_single_precision("img1", "img2")
def nlpd(
    img1: Float[Array, "_channels height width"],
    img2: Float[Array, "_channels height width"],
    epsilon: float = 1e-10,
    *,
    variant: Variant = "plenoptic",
) -> Scalar:
    """Compute the normalized Laplacian pyramid distance, averaged over channels.

    The distance is the root mean squared difference of two normalized Laplacian pyramids at each of
    six scales, averaged over the scales. So coarse scales, which have few values, count as much as
    fine ones (Laparra, Ballé, Berardino and Simoncelli, "Perceptual image quality assessment using
    a normalized Laplacian pyramid", Human Vision and Electronic Imaging 2016).

    Args:
        img1: An image, with values from 0 to 1.
        img2: Another image of the same height, width and dtype, and the same number of channels. An
            image of one channel is compared with every channel of the other.
        epsilon: Added to the mean square in each scale, to keep the gradient finite at equal
            images. Their distance is therefore ``sqrt(epsilon)``. With 0, distance and gradient
            are 0 at equal images, but the gradient close to them is not small.
        variant: The program to follow, as in ``normalized_laplacian_pyramid``. ``"matlab"`` gives
            the distance of the code that the authors published, which has no ``epsilon``.

    Raises:
        ValueError: If the shapes are wrong or do not fit, or ``variant`` is unknown.
        TypeError: If the images do not have one floating-point dtype.

    Warns:
        UserWarning: If a value lies outside [0, 1], which is not checked under a transformation of
            JAX.

    Example:
        >>> import plenoptax as plx
        >>> brick, grass = plx.data.brick(), plx.data.grass()
        >>> print(f"{nlpd(brick, grass):.4f}, {nlpd(brick, brick):.0e}")
        1.2225, 1e-05
    """
    first, second = as_pair(img1, img2, stacklevel=4)
    _check_variant(variant)
    return _nlpd(first, second, epsilon, variant)


@in_single_precision("img")
def normalized_laplacian_pyramid(
    img: Float[Array, "*batch height width"], *, variant: Variant = "plenoptic"
) -> list[Float[Array, "*batch _rows _columns"]]:
    """Divide the scales of a Laplacian pyramid by local averages of their magnitude.

    The pyramid subtracts a local mean luminance at six scales, and the division is a local gain
    control. Both happen early in the visual system (Laparra et al. 2016, as in ``nlpd``).

    Args:
        img: Image, with values from 0 to 1. Leading axes are kept.
        variant: Two programs have this name and differ in four details. ``"plenoptic"`` uses the
            binomial filter [1, 4, 6, 4, 1] / 16, mirrors images without repeating the edge, and
            uses the normalization weights as printed. ``"matlab"``, the authors' own program, uses
            the filter [1, 5, 8, 5, 1] / 20, mirrors images with the edge repeated, pads an image
            that it enlarges with replicated pixels and zeros, and flips the weights, which are not
            symmetric.

    Returns:
        Six scales from fine to coarse, each of half the height and width of the previous one,
        rounded up. The last is the normalized lowpass residual.

    Raises:
        ValueError: If ``variant`` is unknown.

    Example:
        >>> import plenoptax as plx
        >>> scales = normalized_laplacian_pyramid(plx.data.brick())
        >>> [scale.shape[-1] for scale in scales]
        [256, 128, 64, 32, 16, 8]
    """
    _check_variant(variant)
    return _normalized_laplacian_pyramid(img, variant)


@cites(_CITATION)
@final
class NLP(AbstractFunction):
    """The normalized Laplacian pyramid as a model. Its representation has one row for each channel.

    Use it to synthesize metamers and eigendistortions of early vision. The Euclidean distance of
    its representations is not ``nlpd``, which gives each scale the same weight.

    Attributes:
        variant: The program to follow, as in ``normalized_laplacian_pyramid``.

    Example:
        >>> import plenoptax as plx
        >>> NLP()(plx.data.brick()).shape
        (1, 87360)
    """

    variant: Variant = eqx.field(static=True, default="plenoptic")

    def __check_init__(self):
        _check_variant(self.variant)

    @in_single_precision("image")
    def __call__(
        self, image: Float[Array, "*channel height width"]
    ) -> Float[Array, "*channel coefficients"]:
        """Compute the scales of an image from fine to coarse, each flattened row by row.

        Args:
            image: Image, with values from 0 to 1. Leading axes are kept.
        """
        scales = _normalized_laplacian_pyramid(image, self.variant)
        return jnp.concatenate([scale.reshape(*image.shape[:-2], -1) for scale in scales], axis=-1)


def _check_variant(variant: str) -> None:
    if variant not in ("plenoptic", "matlab"):
        raise ValueError(f"variant must be 'plenoptic' or 'matlab', got {variant!r}.")


@functools.partial(jax.jit, static_argnames="variant")
def _nlpd(img1: Array, img2: Array, epsilon: float | Scalar, variant: Variant) -> Scalar:
    scales = _normalized_laplacian_pyramid(jnp.stack([img1, img2]), variant)
    squares = [jnp.mean((scale[0] - scale[1]) ** 2, axis=(-2, -1)) for scale in scales]
    # Elements of a stack may be rounded differently. This keeps the distance of equal images at 0.
    is_equal = jnp.all(img1 == img2, axis=(-2, -1))
    squares = [x - jax.lax.stop_gradient(jnp.where(is_equal, x, 0)) for x in squares]
    return safe_sqrt(jnp.stack(squares) + jnp.asarray(epsilon, img1.dtype)).mean()


@functools.partial(jax.jit, static_argnames="variant")
def _normalized_laplacian_pyramid(img: Array, variant: Variant) -> list[Array]:
    num_scales = len(_NORMALIZATION)
    if variant == "plenoptic":
        scales = LaplacianPyramid(num_scales, scale_filter=True)(img)
    else:
        if img.ndim == 3:
            warn_of_axes(img.shape)
        scales = _matlab_pyramid(img, num_scales)
    # MATLAB's conv2 flips its kernel.
    sign = 1 if variant == "plenoptic" else -1
    normalized = []
    for scale, (constant, weights) in zip(scales, _NORMALIZATION, strict=True):
        height, width = scale.shape[-2:]
        edges = [(0, 0)] * (scale.ndim - 2) + [(_REACH, _REACH)] * 2
        magnitude = jnp.pad(jnp.abs(scale), edges)
        pool = jnp.full_like(scale, constant)
        for row, column, weight in weights:
            top, left = _REACH + sign * row, _REACH + sign * column
            pool += weight * magnitude[..., top : top + height, left : left + width]
        normalized.append(scale / pool)
    return normalized


def _matlab_pyramid(img: Array, num_scales: int) -> list[Array]:
    taps = jnp.asarray([0.05, 0.25, 0.4, 0.25, 0.05], img.dtype)
    outer = [(0, 0)] * (img.ndim - 2)
    scales = []
    for _ in range(num_scales - 1):
        mirrored = jnp.pad(img, [*outer, (2, 2), (2, 2)], mode="symmetric")
        coarser = correlate_separable(mirrored, taps, taps, pad_mode="valid", stride=2)
        replicated = 4 * jnp.pad(coarser, [*outer, (1, 1), (1, 1)], mode="edge")
        between = [(0, 0, 0)] * (img.ndim - 2) + [(0, 1, 1)] * 2
        spread = jax.lax.pad(replicated, jnp.zeros((), img.dtype), between)
        enlarged = correlate_separable(spread, taps, taps, pad_mode="constant")
        height, width = img.shape[-2:]
        scales.append(img - enlarged[..., 2 : 2 + height, 2 : 2 + width])
        img = coarser
    return [*scales, img]
