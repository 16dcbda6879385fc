import equinox as eqx
from jaxtyping import Array, Float

from .._answers import cites
from .._axes import warn_of_axes
from .._function import AbstractFunction
from .._precision import in_single_precision
from .._rules import checked, COUNT
from ._convolution import blur_downsample, upsample_blur


_CITATION = """@article{burt1983laplacian,
  author = {Burt, Peter J. and Adelson, Edward H.},
  title = {The {L}aplacian Pyramid as a Compact Image Code},
  journal = {IEEE Transactions on Communications},
  volume = {31}, number = {4}, pages = {532--540}, year = {1983},
  doi = {10.1109/TCOM.1983.1095851}
}"""


@cites(_CITATION)
class LaplacianPyramid(AbstractFunction):
    """The Laplacian pyramid, a multi-scale decomposition of an image into isotropic bands.

    Each scale is the image minus its blurred version of half the size, enlarged again. That version
    is the image of the next scale. The last scale is the blurred image itself (Burt and Adelson,
    "The Laplacian pyramid as a compact image code", IEEE Trans. Commun. 1983). Every difference is
    kept, so ``recon_pyr`` inverts the transform for every filter and image size, including odd
    sizes. Borders are mirrored. Leading axes of the image are kept.

    Attributes:
        n_scales: Number of scales, including the lowpass residual.
        scale_filter: Whether the filter has a sum of 1.

    Example:
        >>> import jax
        >>> image = jax.random.uniform(jax.random.key(0), (1, 37, 64))
        >>> pyramid = LaplacianPyramid(n_scales=3)
        >>> coefficients = pyramid(image)
        >>> [band.shape for band in coefficients]
        [(1, 37, 64), (1, 19, 32), (1, 10, 16)]
        >>> bool(abs(pyramid.recon_pyr(coefficients) - image).max() < 1e-5)
        True
    """

    n_scales: int = eqx.field(static=True)
    scale_filter: bool = eqx.field(static=True)

    @checked(n_scales=COUNT)
    def __init__(self, n_scales: int = 5, scale_filter: bool = False):
        """Choose the number of scales.

        Args:
            n_scales: Number of scales, including the lowpass residual: 1 gives only the residual.
            scale_filter: Whether the filter, a binomial of five taps along each axis, has a sum of
                1, with a factor of 4 when a scale is enlarged. All scales are then in units of the
                image. Otherwise the filter has a sum of 2 in both directions, and values double
                from one scale to the next.

        Raises:
            ValueError: If ``n_scales`` is less than 1.
        """
        self.n_scales = n_scales
        self.scale_filter = scale_filter

    @in_single_precision("x")
    def __call__(
        self, x: Float[Array, "*batch height width"]
    ) -> list[Float[Array, "*batch _rows _columns"]]:
        """Decompose an image.

        Args:
            x: Image of any size.

        Returns:
            The scales from fine to coarse. Each has half the height and width of the previous one,
            rounded up.

        Warns:
            UserWarning: If the last of three axes looks like channels.
        """
        if x.ndim == 3:
            warn_of_axes(x.shape)
        y = []
        for _ in range(self.n_scales - 1):
            coarser = blur_downsample(x, scale_filter=self.scale_filter)
            y.append(x - self._enlarge(coarser, x))
            x = coarser
        return [*y, x]

    @in_single_precision("y")
    def recon_pyr(
        self, y: list[Float[Array, "*batch _rows _columns"]]
    ) -> Float[Array, "*batch height width"]:
        """Reconstruct an image from its scales, which inverts the transform up to rounding.

        Args:
            y: Scales from fine to coarse.

        Raises:
            ValueError: If the number of scales is not that of the pyramid, or if a size is not half
                of the previous one, rounded up.
        """
        shapes = [band.shape for band in y]
        halves = [(*shape[:-2], *(-(-size // 2) for size in shape[-2:])) for shape in shapes]
        if len(y) != self.n_scales or halves[:-1] != shapes[1:]:
            raise ValueError(
                f"y must be {self.n_scales} scales from fine to coarse, each of half the height "
                f"and width of the previous one, rounded up, got arrays of shapes {shapes}."
            )
        *bands, x = y
        for band in reversed(bands):
            x = band + self._enlarge(x, band)
        return x

    def _enlarge(self, coarser: Array, finer: Array) -> Array:
        odd = [size % 2 for size in finer.shape[-2:]]
        return upsample_blur(coarser, odd, scale_filter=self.scale_filter)
