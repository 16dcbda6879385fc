from collections.abc import Callable
from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._compiled import warn_of_deadlock
from .._rules import checked, COUNT, Whole
from .._safe import safe_divisor
from .._warnings import warn_caller
from ..loss import WeightedL2Norm, whitened_loss_factory
from ._pooled_loss import natural_deviation, natural_loss
from ._pooled_portilla_simoncelli_statistics import (
    Correlation,
    Frame,
    frame_image,
    level_weights,
    Levels,
    measure_windows,
)
from ._portilla_simoncelli_layout import (
    check_size,
    gather_indices,
    Group,
    Label,
    LOWPASS,
    PIXELS,
    statistic_groups,
)
from ._portilla_simoncelli_statistics import Masks, texture_masks
from ._texture_statistics import AbstractStatisticGroups
from ._windows import AbstractPoolingWindows


_CITATION = """@article{freeman2011metamers,
  author = {Freeman, Jeremy and Simoncelli, Eero P.},
  title = {Metamers of the Ventral Stream},
  journal = {Nature Neuroscience},
  volume = {14}, number = {9}, pages = {1195--1201}, year = {2011},
  doi = {10.1038/nn.2889}
}"""

# The samples of a scale that a window must average for the statistics of this scale.
_FEWEST_SAMPLES = 4.0

# Windows overlap, and each has few pixels for a statistic. With less, the loss is nearly blind to
# what others contribute, and the synthesis ends early.
_RIDGE = 0.01

# The numbers in the whitening matrices of all windows.
_LARGEST_WHITENING = 2**26


@final
class PooledPortillaSimoncelli(AbstractStatisticGroups):
    """The texture statistics of Portilla and Simoncelli in each window.

    With windows that grow with eccentricity this is the model of the second visual area by Freeman
    and Simoncelli (2011): metamers look like the texture of the image in each window.

    The statistics are those of `PortillaSimoncelli` without the minimum and the maximum, weighted
    by the windows: means, variances and covariances are about the mean in the window. With one
    uniform window, circular borders and a size divisible by ``2**n_scales`` they are equal. A
    variance is at least 1e-3 of the variance in the image, so that correlations are defined where a
    window sees a constant.

    Statistics are 0 where a window is too small for them: those of a scale at which it averages
    fewer than 4 samples, and autocorrelations at shifts of more than about half of its width, as
    in Freeman and Simoncelli's program. A window that the border cuts has the size of what is
    inside.

    A pixel outside of a window has no influence on its pixel statistics. Filters have no border, so
    it has some on the others: by photographs, less than 1 % of that of the most influential pixel
    at a distance of 16 pixels at scale 0 and of 36 at scale 1, and more than 48 at coarser scales.

    Each channel is measured separately, and no statistic relates channels.

    Attributes:
        relates_channels: Whether statistics between channels are measured: False.
        lbfgs_memory: The number of pairs that L-BFGS stores by default.
        windows: The windows.
        levels: The weights of the samples of each scale.
        masks: The masks that multiply the spectra.
        is_measured: For each window and statistic 1, or 0 if the window is too small for it.
        n_scales: Number of scales.
        n_orientations: Number of orientations.
        spatial_corr_width: Number of shifts of the autocorrelations along each axis.
        correlation: How windows enter autocorrelations.
        frame: The place of the image in the larger image that is filtered.

    Example:
        >>> import plenoptax as plx
        >>> windows = plx.models.grid_windows((64, 64), (40, 40))
        >>> model = PooledPortillaSimoncelli(windows, 2, 2, 3)
        >>> model(plx.data.camera()[:, :64, :64]).shape
        (1, 9, 60)
    """

    relates_channels: ClassVar[bool] = False
    lbfgs_memory: ClassVar[int] = 30
    citation: ClassVar[str] = _CITATION
    windows: AbstractPoolingWindows
    levels: Levels
    masks: Masks
    is_measured: Float[Array, "window statistic"]
    n_scales: int = eqx.field(static=True)
    n_orientations: int = eqx.field(static=True)
    spatial_corr_width: int = eqx.field(static=True)
    correlation: Correlation = eqx.field(static=True)
    frame: Frame = eqx.field(static=True)

    @checked(n_scales=COUNT, n_orientations=Whole(2), spatial_corr_width=COUNT)
    def __init__(
        self,
        windows: AbstractPoolingWindows,
        n_scales: int = 4,
        n_orientations: int = 4,
        spatial_corr_width: int = 7,
        *,
        correlation: Correlation = "product",
        boundary: str = "symmetric",
    ):
        """Compute the masks, and the windows of each scale.

        Args:
            windows: The windows, of the size of the image.
            n_scales: Number of scales, as in `PortillaSimoncelli`.
            n_orientations: Number of orientations, at least 2.
            spatial_corr_width: Number of shifts of the autocorrelations along each axis.
            correlation: How windows enter autocorrelations. ``"product"`` weighs the product of two
                values with the window at the first of them. ``"root"`` multiplies both values with
                the root of the window at their place, as in Freeman and Simoncelli's program; it is
                symmetric, but shifted windows overlap less, so it falls with the shift. It takes
                longer.
            boundary: ``"symmetric"`` reflects the image at its borders before it is filtered, so
                opposite borders do not meet. ``"circular"`` does not, as in `PortillaSimoncelli`.

        Raises:
            ValueError: If an argument is out of range.

        Warns:
            UserWarning: If there are more statistics than pixels, where windows that are almost
                sums of others do not count. A synthesis then hardly converges.
        """
        if correlation not in ("product", "root"):
            raise ValueError(f"correlation must be 'product' or 'root', got {correlation!r}.")
        if boundary not in ("symmetric", "circular"):
            raise ValueError(f"boundary must be 'symmetric' or 'circular', got {boundary!r}.")
        shape = windows.image_shape
        check_size(shape, n_scales, spatial_corr_width, "")
        warn_of_deadlock()
        self.windows = windows
        self.n_scales = n_scales
        self.n_orientations = n_orientations
        self.spatial_corr_width = spatial_corr_width
        self.correlation = correlation
        self.frame = frame_image(
            shape, n_scales, spatial_corr_width, is_circular=boundary == "circular"
        )
        self.masks = texture_masks(self.frame.padded_shape, n_scales, n_orientations)
        dense = np.asarray(windows.weigh_pixels(np.arange(windows.num_windows)), np.float64)
        levels = [level_weights(dense, self.frame, scale) for scale in range(n_scales + 1)]
        samples = windows.effective_pixels[:, None] / 4.0 ** np.arange(n_scales + 1)
        is_measured = _is_measured(self._groups(), self.statistic_scales, samples)
        dtype = jnp.result_type(float)
        self.levels = tuple(jnp.asarray(level, dtype) for level in levels)
        self.is_measured = jnp.asarray(is_measured, dtype)
        if is_measured.sum() > np.prod(shape):
            _warn_of_many(windows.count_effective() * is_measured.sum(1).mean(), shape)

    def __call__(
        self, image: Float[Array, "channel height width"]
    ) -> Float[Array, "channel window statistic"]:
        """Measure each channel separately.

        Args:
            image: An image of the size of the windows, in float32 or float64.

        Raises:
            ValueError: If the image has another size or dtype.
        """
        shape = self.frame.image_shape
        if image.shape[-2:] != shape or image.dtype not in (jnp.float32, jnp.float64):
            raise ValueError(
                f"The image must have {shape[0]} x {shape[1]} pixels as the windows and be in "
                f"float32 or float64, got {image.dtype} of shape {image.shape}. Make windows with "
                "image.shape[-2:]."
            )
        groups = self._groups()
        indices = gather_indices(groups, tuple(self.scales))

        def measure_channel(channel: Array) -> Float[Array, "window statistic"]:
            found = measure_windows(channel, self.masks, self.levels, self.frame, self.correlation)
            # With one scale, no statistics relate scales.
            values = [
                found[name].reshape(len(self.is_measured), -1) for name in groups if name in found
            ]
            statistics = jnp.concatenate(values, axis=1).at[:, indices]
            return statistics.get(mode="promise_in_bounds", unique_indices=True)

        if len(image) == 1:
            statistics = measure_channel(image[0])[None]
        else:
            statistics = jax.vmap(measure_channel)(image)
        return statistics * jnp.asarray(self.is_measured, image.dtype)[None]

    def default_loss(self, image: Array) -> Callable:
        """Return the metamer loss: each window whitened, in units of the spread over photographs.

        A unit belongs to a group of `statistic_groups` at one scale, and to each of the pixel
        statistics. In the benchmarks whitening needs a quarter of the steps. Beyond 2^26 numbers in
        its matrices, which are 256 MB in float32, the loss is the mean squared difference in these
        units.
        """
        pairs = zip(self.statistic_groups, self.statistic_scales, strict=True)
        # Mean, variance, skew and kurtosis have no unit in common.
        groups = [
            f"{name} {index if name == PIXELS else label}"
            for index, (name, label) in enumerate(pairs)
        ]
        if len(image) * len(self.is_measured) * len(groups) ** 2 > _LARGEST_WHITENING:
            return natural_loss(self, self.windows, image, groups)
        unit = safe_divisor(natural_deviation(self, self.windows, image, groups))
        base = WeightedL2Norm(self.is_measured.astype(unit.dtype)[None] / unit)
        return whitened_loss_factory(self, image, base, ridge=_RIDGE, separate_axes=2)

    def _groups(self) -> dict[str, Group]:
        groups = statistic_groups(
            self.n_scales, self.n_orientations, self.spatial_corr_width, False
        )
        # The minimum and the maximum have no windows.
        return groups | {PIXELS: Group((PIXELS,) * 4, np.ones(4, bool))}


def _is_measured(
    groups: dict[str, Group], labels: tuple[Label, ...], samples: Float[np.ndarray, "window scale"]
) -> np.ndarray:
    """Return for each window and statistic whether the window is large enough.

    Args:
        groups: The groups of statistics.
        labels: The label of each statistic.
        samples: How many samples each window averages at each scale.
    """
    scale_of = {LOWPASS: samples.shape[1] - 1}
    scales = [label if isinstance(label, int) else scale_of.get(label, 0) for label in labels]
    reach = []
    for group in groups.values():
        at = np.nonzero(group.kept)
        center = len(group.kept) // 2
        shifts = np.abs(np.stack(at[:2]) - center).max(0)
        reach.append(shifts if group.is_autocorrelation else np.zeros(len(at[0])))
    longest = np.floor((np.sqrt(samples) - 1) / 2)[:, scales]
    return (samples[:, scales] >= _FEWEST_SAMPLES) & (np.concatenate(reach)[None] <= longest)


def _warn_of_many(number: float, shape: tuple[int, int]) -> None:
    num_pixels = shape[0] * shape[1]
    if number > num_pixels:
        warn_caller(
            f"The windows have about {number:.0f} independent statistics for {num_pixels} pixels, "
            "so a synthesis will hardly converge. Use larger windows, fewer scales or a smaller "
            "spatial_corr_width."
        )
