from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, final

import equinox as eqx
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from .._axes import advise_on_size, as_shape
from .._compiled import warn_of_deadlock
from .._rules import checked, COUNT, SIZES, Whole
from ..data import natural_statistics, NaturalStatistics
from ..loss import portilla_simoncelli_loss_factory, whitened_loss_factory
from ._portilla_simoncelli_layout import check_size, Group, Label, statistic_groups
from ._portilla_simoncelli_statistics import CITATION, Masks, represent, texture_masks
from ._texture_statistics import AbstractTextureStatistics


@final
class PortillaSimoncelli(AbstractTextureStatistics):
    """The texture statistics of Portilla and Simoncelli.

    Two images with the same statistics should look like the same texture (Portilla and Simoncelli,
    "A parametric texture model based on joint statistics of complex wavelet coefficients",
    International Journal of Computer Vision 40, 2000). The statistics are, in the order of the
    representation, with K orientations, S scales and a width of w shifts:

    - ``pixel_statistics``, (6,): mean, variance (with n - 1), skew, kurtosis, minimum, maximum;
    - ``auto_correlation_magnitude``, (w, w, K, S): of the magnitudes of the oriented bands;
    - ``skew_reconstructed``, ``kurtosis_reconstructed``, (S + 1,),
      ``auto_correlation_reconstructed``, (w, w, S + 1), and ``std_reconstructed``, (S + 1,): of the
      image without its mean and the frequencies above each scale, and of the lowpass residual;
    - ``cross_orientation_correlation_magnitude``, (K, K, S), and ``magnitude_std``, (K, S);
    - ``cross_scale_correlation_magnitude``, (K, K, S - 1): a scale with the next coarser one;
    - ``cross_scale_correlation_real``, (K, 2 K, S - 1): the real part of a scale with the real and
      the imaginary parts of the next coarser one, at twice its phase;
    - ``var_highpass_residual``, (1,);
    - with ``magnitude_means=True``, ``magnitude_means``, (K, S), which the paper leaves out.

    Scales run from fine to coarse, and the lowpass residual is last. Entries that are constant, or
    equal to others by symmetry, are left out: 710 statistics remain by default.

    Images may have any size. Filters have fixed frequencies in cycles per pixel and shifts are
    ``2**scale`` pixels of the image at each scale, so statistics have the same meaning at every
    size, even one that does not halve evenly. Borders are circular: a photograph whose opposite
    edges differ has a seam there, which is measured like the rest of the image.

    Where a band or an image is constant, up to the rounding of the FFT, its standard deviation and
    all its correlations are 0, its skew is 0 and its kurtosis 3, as for a Gaussian, and the
    gradients of these are 0. Skew and kurtosis also have these values for a reconstructed image
    with less than 1e-6 (float32) or 1e-15 (float64) of the variance of the pixels. Statistics are
    therefore never infinite or NaN.

    Each channel is measured separately, and no statistic relates channels: metamers of a color
    image have other colors.

    Attributes:
        relates_channels: Whether statistics between channels are measured: False. Synthesis warns
            about color images if a model has this attribute and it is False.
        lbfgs_memory: The number of pairs that L-BFGS stores by default.
        image_shape: Height and width of the images that the masks are for.
        n_scales: Number of scales.
        n_orientations: Number of orientations.
        spatial_corr_width: Number of shifts of the autocorrelations along each axis.
        masks: The masks that multiply the spectra.
        weights: A factor for each statistic, or None.
        magnitude_means: Whether the means of the magnitudes are measured too.

    Example:
        >>> import jax
        >>> model = PortillaSimoncelli((64, 64), n_scales=3)
        >>> image = jax.random.uniform(jax.random.key(0), (1, 64, 64))
        >>> representation = model(image)
        >>> representation.shape
        (1, 529)
        >>> model.convert_to_dict(representation)["magnitude_std"].shape
        (1, 4, 3)
        >>> without = PortillaSimoncelli((64, 64), 3, weights={"magnitude_std": 0})
        >>> float(abs(without.convert_to_dict(without(image))["magnitude_std"]).max())
        0.0
    """

    relates_channels: ClassVar[bool] = False
    lbfgs_memory: ClassVar[int] = 100
    citation: ClassVar[str] = CITATION
    image_shape: tuple[int, int] = eqx.field(static=True)
    n_scales: int = eqx.field(static=True)
    n_orientations: int = eqx.field(static=True)
    spatial_corr_width: int = eqx.field(static=True)
    masks: Masks
    weights: Float[Array, " statistic"] | None
    magnitude_means: bool = eqx.field(static=True)

    @checked(image_shape=SIZES, n_scales=COUNT, n_orientations=Whole(2), spatial_corr_width=COUNT)
    def __init__(
        self,
        image_shape: Sequence[int],
        n_scales: int = 4,
        n_orientations: int = 4,
        spatial_corr_width: int = 7,
        *,
        weights: ArrayLike | Mapping[str, ArrayLike] | None = None,
        magnitude_means: bool = False,
    ):
        """Compute the masks.

        Args:
            image_shape: Height and width of the images in pixels. The model takes images of other
                sizes too, but computes their masks again at every compilation.
            n_scales: Number of scales, at most ``floor(log2(min(image_shape))) - 2``.
            n_orientations: Number of orientations, at least 2.
            spatial_corr_width: Number of shifts of the autocorrelations along each axis, at most
                the size of the lowpass residual, ``ceil(min(image_shape) / 2**n_scales)``. At 7, as
                in the figures of the paper, shifts reach three samples to either side.
            weights: Factors that multiply the statistics, so that every loss, metric and distortion
                uses weighted statistics. Give one for each statistic, or a dictionary of factors
                for some groups: numbers, or arrays that broadcast to the shapes above. A factor of
                0 ablates. The weights are a leaf: changing them causes no compilation.
            magnitude_means: Whether to add the mean magnitude of each band, so that a metamer has
                the energy of its target in each band. Off by default, because it is not in the
                paper.

        Raises:
            ValueError: If an argument is out of range; or if ``weights`` names an unknown group, or
                does not fit the number of statistics or the shape of a group.
        """
        self.image_shape = as_shape(image_shape)
        self.n_scales = n_scales
        self.n_orientations = n_orientations
        self.spatial_corr_width = spatial_corr_width
        self.magnitude_means = magnitude_means
        advice = advise_on_size(self.image_shape)
        check_size(self.image_shape, n_scales, spatial_corr_width, advice)
        warn_of_deadlock()
        self.masks = texture_masks(self.image_shape, n_scales, n_orientations)
        self.weights = None if weights is None else self._as_weights(weights)

    def __call__(
        self, image: Shaped[Array, "..."], scales: Sequence[Label] | None = None
    ) -> Float[Array, "channel statistic"]:
        """Measure the statistics of each channel separately.

        Args:
            image: Image of shape (channel, height, width), in float32 or float64.
            scales: Labels of the statistics to return, any of ``self.scales``. Their order does not
                matter. Other scales are not computed. Default: all.

        Raises:
            ValueError: If the image has another rank or dtype or is too small for the scales, or if
                a label is unknown.
        """
        labels = self._check_call(image, scales)
        masks, (_, height, width) = self.masks, image.shape
        if (height, width) != self.image_shape:
            masks = texture_masks((height, width), self.n_scales, self.n_orientations, image.dtype)
        representation = represent(
            image,
            masks,
            self.n_orientations,
            self.spatial_corr_width,
            labels,
            self.magnitude_means,
        )
        return self._weigh(representation, labels)

    def default_loss(self, image: Array) -> Callable:
        """Return the metamer loss: the stage loss, whitened, which needs a third of the steps."""
        base = portilla_simoncelli_loss_factory(self, image)
        return whitened_loss_factory(self, image, base, separate_axes=1)

    def default_stage_loss(self, image: Array) -> Callable:
        """Return the coarse-to-fine loss: `plenoptax.loss.portilla_simoncelli_loss_factory`."""
        return portilla_simoncelli_loss_factory(self, image)

    def null_statistics(self) -> NaturalStatistics | None:
        """Return the weighted statistics of gray photographs.

        Return None unless scales, orientations, shifts and ``magnitude_means`` are the defaults.
        """
        default = self.n_scales, self.n_orientations, self.spatial_corr_width
        if default != (4, 4, 7) or self.magnitude_means:
            return None
        natural = natural_statistics()
        weights = np.ones(len(natural.mean)) if self.weights is None else np.asarray(self.weights)
        return natural._replace(
            mean=natural.mean * weights,
            standard_deviation=natural.standard_deviation * np.abs(weights),
            z_scores=natural.z_scores * np.sign(weights),
        )

    def _plotters(self) -> tuple[Callable, Callable]:
        from ..plot import _portilla_simoncelli as plots

        return plots.plot_portilla_simoncelli, plots.portilla_simoncelli_stems

    def _groups(self) -> dict[str, Group]:
        return statistic_groups(
            self.n_scales, self.n_orientations, self.spatial_corr_width, self.magnitude_means
        )
