from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from .._answers import citations
from .._axes import advise_on_size, as_shape
from .._compiled import warn_of_deadlock
from .._rules import checked, COUNT, SIZES, Whole
from ..loss import portilla_simoncelli_loss_factory
from ._color_portilla_simoncelli_layout import color_groups, NUM_CHANNELS
from ._color_portilla_simoncelli_statistics import (
    color_masks,
    ColorMasks,
    represent_color,
    to_linear_light,
)
from ._portilla_simoncelli_layout import check_size, Group, Label
from ._portilla_simoncelli_statistics import CITATION
from ._texture_statistics import AbstractTextureStatistics


# Lightness, red against green, yellow against blue: orthonormal.
_OPPONENT = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
_CONES = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_CONE_OPPONENT = np.array([[0.5, 0.5, 0], [-4, 4, 0], [0.5, 0.5, -1]]) @ _CONES
_NAMED = {"opponent": _OPPONENT, "opc": _CONE_OPPONENT}
_WEIGHTS = {"color_covariance": 50, "color_quantiles": 5, "magnitude_std": 3}
# The smallest standard deviation of a principal channel that is scaled to 1, relative to the
# largest one. Smaller channels are rounding noise of images with few colors.
_SMALLEST = 1e-3


@final
class ColorPortillaSimoncelli(AbstractTextureStatistics):
    """Texture statistics of color images, within and between channels.

    `PortillaSimoncelli` measures each channel alone, so its metamers of color images have other
    colors. This model also measures how the channels are related. Its statistics are those of
    Vacher and Briand (2021), and, unless ``color_quantiles=False``, the distribution of the colors.

    A ``transform`` first turns red, green and blue into three other channels. The statistics are,
    in the order of the representation, with K orientations, S scales and a width of w shifts:

    - ``pixel_statistics``, (3, 6): mean, variance, skew, kurtosis, minimum and maximum of red,
      green and blue;
    - the groups of `PortillaSimoncelli` that belong to a single channel, for each transformed
      channel, with a leading axis of 3: ``auto_correlation_magnitude``, ``skew_reconstructed``,
      ``kurtosis_reconstructed``, ``auto_correlation_reconstructed``, ``std_reconstructed``,
      ``magnitude_std`` and ``var_highpass_residual``;
    - its correlations between bands, where the bands of all channels are one axis, channel by
      channel: ``cross_orientation_correlation_magnitude``, (3 K, 3 K, S),
      ``cross_scale_correlation_magnitude``, (3 K, 3 K, S - 1), and
      ``cross_scale_correlation_real``, (3 K, 6 K, S - 1), with all real parts of the coarser bands
      before all imaginary parts;
    - ``color_covariance``, (3, 3): of red, green and blue;
    - ``auto_correlation_transformed``, (3, w, w, 1), ``skew_transformed``, (3, 1), and
      ``kurtosis_transformed``, (3, 1): of the transformed channels;
    - ``cross_orientation_correlation_real``, (3 K, 3 K, S): of the real parts of the bands of a
      scale;
    - ``cross_correlation_lowpass``, (15, 15): of the lowpass residuals of the channels, each at 5
      places: its own, and ``2**S`` pixels below, above, to the right and to the left;
    - ``cross_correlation_coarsest_scale_lowpass``, (3 K, 15): of the real parts of the coarsest
      bands with these lowpass residuals;
    - ``color_quantiles``, (16, 32): the distribution of the transformed colors along 16 fixed
      directions, spread evenly over half of a sphere. Each row has the means of 32 equal parts of
      the sorted values. The other statistics determine the covariance of the colors, but not their
      joint distribution; see ``benchmarks/README.md``.

    Scales run from fine to coarse. Entries that are constant, or equal to others by symmetry, are
    left out: 4280 statistics remain by default, 3768 without the quantiles. Sizes, borders and
    constant bands are treated as in `PortillaSimoncelli`. Where a transformed channel is constant
    up to the rounding of the image, as all but the first are on a gray image, its correlations
    are 0.

    Attributes:
        lbfgs_memory: The number of pairs that L-BFGS stores by default.
        image_shape: Height and width of the images that the masks are for.
        n_scales: Number of scales.
        n_orientations: Number of orientations.
        spatial_corr_width: Number of shifts of the autocorrelations along each axis.
        masks: The masks that multiply the spectra.
        matrix: The matrix from red, green and blue to the transformed channels.
        weights: A factor for each statistic, or None.
        linear: Whether pixel values are converted to linear light before the transform.
        color_quantiles: Whether the distribution of the colors is measured.

    References:
        Vacher and Briand (2021), The Portilla-Simoncelli Texture Model: towards Understanding the
        Early Visual Cortex, Image Processing On Line 11, 170-211.

    Example:
        >>> import jax
        >>> model = ColorPortillaSimoncelli((32, 32), n_scales=2, n_orientations=2)
        >>> image = jax.random.uniform(jax.random.key(0), (3, 32, 32))
        >>> representation = model(image)
        >>> representation.shape == (model.num_statistics,)
        True
        >>> model.convert_to_dict(representation)["color_covariance"].shape
        (3, 3)
    """

    lbfgs_memory: ClassVar[int] = 100
    citation: ClassVar[str] = citations(
        CITATION,
        """@article{vacher2021portilla,
  author = {Vacher, Jonathan and Briand, Thibaud},
  title = {The {Portilla-Simoncelli} Texture Model: towards Understanding the Early Visual Cortex},
  journal = {Image Processing On Line},
  volume = {11}, pages = {170--211}, year = {2021},
  doi = {10.5201/ipol.2021.324}
}""",
    )
    image_shape: tuple[int, int] = eqx.field(static=True)
    n_scales: int = eqx.field(static=True)
    n_orientations: int = eqx.field(static=True)
    spatial_corr_width: int = eqx.field(static=True)
    masks: ColorMasks
    matrix: Float[Array, "3 3"]
    weights: Float[Array, " statistic"] | None
    linear: bool = eqx.field(static=True)
    color_quantiles: bool = eqx.field(static=True)

    @checked(image_shape=SIZES, n_scales=COUNT, n_orientations=Whole(2), spatial_corr_width=COUNT)
    def __init__(
        self,
        image_shape: Sequence[int],
        n_scales: int = 4,
        n_orientations: int = 4,
        spatial_corr_width: int = 7,
        *,
        transform: str | ArrayLike | None = "opponent",
        image: ArrayLike | None = None,
        linear: bool = False,
        weights: ArrayLike | Mapping[str, ArrayLike] | None = None,
        color_quantiles: bool = True,
    ):
        """Compute the masks and the matrix of the transform.

        Args:
            image_shape: Height and width of the images in pixels, as for `PortillaSimoncelli`.
            n_scales: Number of scales, at most ``floor(log2(min(image_shape))) - 2``.
            n_orientations: Number of orientations, at least 2.
            spatial_corr_width: Number of shifts of the autocorrelations along each axis, at most
                the size of the lowpass residual.
            transform: The channels to measure. ``"opponent"`` is the opponent color space of van de
                Sande et al. (2010), in the order lightness, red against green, yellow against blue:
                (R + G + B) / sqrt(3), (R - G) / sqrt(2), (R + G - 2 B) / sqrt(6). It is the
                default because it is orthonormal, needs no image, and separates light from color.
                ``"opc"`` is the cone-opponent space of Brown et al. (2023), which plenoptic calls
                OPC. ``"pca"`` is the principal axes of the colors of ``image``, each scaled to
                standard deviation 1. A channel whose standard deviation is below 1e-3 of the
                largest one is scaled less, because it is rounding noise. Else a 3 x 3 matrix, or
                None for red, green and blue themselves.
            image: The image of shape (3, height, width) whose colors define ``"pca"``.
            linear: Whether to convert sRGB values to linear light before the transform. Off by
                default: gamma-coded values, as in image files, are closer to equal steps of
                perception. ``pixel_statistics`` and ``color_covariance`` are always of the values
                as they are.
            weights: Factors that multiply the statistics, as for `PortillaSimoncelli`: one for each
                statistic, or a dictionary of factors for some groups. A factor of 0 ablates.
            color_quantiles: Whether to measure the distribution of the colors. Without it the model
                is that of Vacher and Briand, and takes half the time.

        Raises:
            ValueError: If an argument is out of range; if the transform is unknown, has another
                shape or is singular; if ``image`` is missing for ``"pca"``, given for another
                transform, or of one color; or if ``weights`` do not fit.

        References:
            van de Sande, Gevers and Snoek (2010), Evaluating Color Descriptors for Object and Scene
            Recognition, IEEE Transactions on Pattern Analysis and Machine Intelligence 32,
            1582-1596.

            Brown, Dutell, Walter, Rosenholtz, Shirley, McGuire and Luebke (2023), Efficient
            Dataflow Modeling of Peripheral Encoding in the Human Visual System, ACM Transactions on
            Applied Perception 20, 1-22.
        """
        self.image_shape = as_shape(image_shape)
        self.n_scales = n_scales
        self.n_orientations = n_orientations
        self.spatial_corr_width = spatial_corr_width
        self.linear = linear
        self.color_quantiles = color_quantiles
        advice = advise_on_size(self.image_shape)
        check_size(self.image_shape, n_scales, spatial_corr_width, advice)
        warn_of_deadlock()
        self.masks = color_masks(self.image_shape, n_scales, n_orientations)
        matrix = _as_matrix(transform, image, linear)
        self.matrix = jnp.asarray(matrix, jnp.result_type(float))
        self.weights = None if weights is None else self._as_weights(weights)

    def __call__(
        self, image: Shaped[Array, "..."], scales: Sequence[Label] | None = None
    ) -> Float[Array, " statistic"]:
        """Measure the statistics of a color image.

        Args:
            image: Image of shape (3, height, width), in float32 or float64.
            scales: Labels of the statistics to return, any of ``self.scales``. Their order does not
                matter. Other scales are not computed. Default: all. Correlations with the coarsest
                scale's lowpass residual belong to that scale, those of the residual itself to
                ``"residual_lowpass"``.

        Raises:
            ValueError: If the image has another rank, dtype or number of channels, or is too small
                for the scales, or if a label is unknown.
        """
        labels = self._check_call(image, scales)
        if len(image) != NUM_CHANNELS:
            raise ValueError(f"The image must have 3 channels, got {len(image)}. {_advise(image)}")
        masks, (_, height, width) = self.masks, image.shape
        if (height, width) != self.image_shape:
            masks = color_masks((height, width), self.n_scales, self.n_orientations, image.dtype)
        representation = represent_color(
            image,
            jnp.asarray(self.matrix, image.dtype),
            masks,
            self.n_orientations,
            self.spatial_corr_width,
            labels,
            self.linear,
            self.color_quantiles,
        )
        return self._weigh(representation, labels)

    def default_loss(self, image: Array) -> Callable:
        """Return the metamer loss, which is the stage loss too.

        It is not whitened, as that of `PortillaSimoncelli` is: with several thousand statistics a
        sampled covariance slows L-BFGS down.
        """
        return self.default_stage_loss(image)

    def default_stage_loss(self, image: Array) -> Callable:
        """Return `plenoptax.loss.portilla_simoncelli_loss_factory`, with weights for some groups.

        A change of the pixels changes the covariance and the quantiles of the colors, and the
        standard deviations of the bands, less than correlations. They get the weights 50, 5 and 3.
        """
        weights = {name: _WEIGHTS[name] for name in self._groups() if name in _WEIGHTS}
        return portilla_simoncelli_loss_factory(self, image, weights)

    def _plotters(self) -> tuple[Callable, Callable]:
        from ..plot import _color_portilla_simoncelli as plots

        return plots.plot_color_portilla_simoncelli, plots.color_portilla_simoncelli_stems

    def _groups(self) -> dict[str, Group]:
        return color_groups(
            self.n_scales, self.n_orientations, self.spatial_corr_width, self.color_quantiles
        )


def _advise(image: Shaped[Array, "..."]) -> str:
    if len(image) == 1:
        return "Use plenoptax.models.PortillaSimoncelli for a gray image."
    return "Leave out an opacity channel, such as with image[:3]."


def _as_matrix(
    transform: str | ArrayLike | None, image: ArrayLike | None, linear: bool
) -> Float[np.ndarray, "3 3"]:
    """Return the matrix of a transform, checked."""
    is_pca = isinstance(transform, str) and transform == "pca"
    if is_pca != (image is not None):
        raise ValueError(
            f"image must be given for transform='pca' and only then, got transform={transform!r} "
            f"{'without' if image is None else 'with'} an image."
        )
    if image is not None:
        return _principal_axes(np.asarray(image, np.float64), linear)
    if isinstance(transform, str):
        if transform not in _NAMED:
            raise ValueError(
                f"transform must be one of {[*_NAMED, 'pca']}, None or a 3 x 3 matrix, got "
                f"{transform!r}."
            )
        return _NAMED[transform]
    if transform is None:
        return np.eye(NUM_CHANNELS)
    matrix = np.asarray(transform, np.float64)
    if matrix.shape != (NUM_CHANNELS, NUM_CHANNELS):
        raise ValueError(f"transform must have the shape (3, 3), got {matrix.shape}.")
    if not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix) < NUM_CHANNELS:
        raise ValueError(f"transform must be an invertible matrix, got {matrix.tolist()}.")
    return matrix


def _principal_axes(image: Float[np.ndarray, "..."], linear: bool) -> Float[np.ndarray, "3 3"]:
    if image.ndim != 3 or len(image) != NUM_CHANNELS:
        raise ValueError(f"image must have the shape (3, height, width), got {image.shape}.")
    values = np.asarray(to_linear_light(jnp.asarray(image)) if linear else image).reshape(
        NUM_CHANNELS, -1
    )
    variances, axes = np.linalg.eigh(np.cov(values))
    if np.ptp(values, axis=1).max() == 0:
        raise ValueError("image must have several colors for transform='pca', got a single one.")
    deviations = np.sqrt(np.maximum(variances, 0))
    matrix = axes / np.maximum(deviations, _SMALLEST * deviations[-1])
    return matrix.T[::-1]
