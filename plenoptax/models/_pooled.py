"""Models whose responses are averages over windows, such as those of peripheral vision."""

from collections.abc import Callable
from typing import ClassVar, final

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._function import AbstractFunction
from .._precision import in_single_precision
from .._rules import checked, COUNT, Whole
from ..process import SteerablePyramidFreq
from ._pooled_loss import natural_loss
from ._windows import AbstractPoolingWindows


@final
class PooledLuminance(AbstractFunction):
    """The mean of the image in each window.

    Its metamers scramble all that is smaller than the windows. With windows that grow with
    eccentricity they show noise whose grain grows towards the periphery, as in Broderick et al.
    (2025).

    Attributes:
        windows: The windows.

    Example:
        >>> import plenoptax as plx
        >>> windows = plx.models.log_polar_windows((64, 64), 0.5, 4, 32)
        >>> model = plx.models.PooledLuminance(windows)
        >>> model(plx.data.camera()[:, :64, :64]).shape == (1, windows.num_windows)
        True
    """

    lbfgs_memory: ClassVar[int] = 30
    windows: AbstractPoolingWindows

    def __call__(
        self, image: Float[Array, "channel height width"]
    ) -> Float[Array, "channel window"]:
        """Average an image of the size of the windows; each channel alone."""
        return self.windows(image)

    def default_loss(self, image: Array) -> Callable:
        """Return the mean squared difference in units of the spread over photographs."""
        return natural_loss(self, self.windows, image, ("luminance",))


@final
class PooledEnergy(AbstractFunction):
    """The mean luminance and the mean energy of oriented bands in each window.

    Energy is the squared magnitude of complex bands, as of complex cells in the primary visual
    cortex. It does not depend on the local phase, so metamers scramble edges and textures within
    the windows and keep their scale, orientation and contrast (Freeman and Simoncelli 2011;
    Broderick et al. 2025).

    The energy of a band is its part of the mean square of the image: over all bands and a uniform
    window, the energies sum to the mean square without the two residuals of the pyramid.

    Attributes:
        windows: The windows.
        scaled_windows: The windows for the samples of each scale.
        pyramid: The complex steerable pyramid.

    Example:
        >>> import plenoptax as plx
        >>> windows = plx.models.grid_windows((32, 32), (16, 16))
        >>> model = plx.models.PooledEnergy(windows, 2, 2)
        >>> model(plx.data.camera()[:, :32, :32]).shape == (1, windows.num_windows, 1 + 2 * 2)
        True
    """

    lbfgs_memory: ClassVar[int] = 30
    windows: AbstractPoolingWindows
    scaled_windows: tuple[AbstractPoolingWindows, ...]
    pyramid: SteerablePyramidFreq

    @checked(n_scales=COUNT, n_orientations=Whole(2))
    def __init__(self, windows: AbstractPoolingWindows, n_scales: int = 4, n_orientations: int = 4):
        """Build the pyramid, and the windows for its scales.

        Args:
            windows: The windows, of the size of the image.
            n_scales: The number of scales.
            n_orientations: The number of orientations, from 2 to 16.

        Raises:
            ValueError: If the image is too small for so many scales, or a number is out of range.
        """
        self.windows = windows
        self.pyramid = SteerablePyramidFreq(
            windows.image_shape, n_scales, n_orientations - 1, is_complex=True, tight_frame=True
        )
        height, width = windows.image_shape
        shapes = [(-(-height // 2**s), -(-width // 2**s)) for s in range(n_scales)]
        self.scaled_windows = tuple(windows.resize(shape) for shape in shapes)

    @property
    def statistic_groups(self) -> tuple[str, ...]:
        """The group of each statistic on the last axis: the luminance, and each scale's energy."""
        num_scales, count = self.pyramid.num_scales, self.pyramid.num_orientations
        scales = [f"energy at scale {scale}" for scale in range(num_scales) for _ in range(count)]
        return ("luminance", *scales)

    @in_single_precision("image")
    def __call__(
        self, image: Float[Array, "channel height width"]
    ) -> Float[Array, "channel window statistic"]:
        """Measure an image of the size of the windows; each channel alone."""
        bands = self.pyramid(image)
        statistics = [self.windows(image)[..., None]]
        for scale, windows in enumerate(self.scaled_windows):
            band = bands[scale]
            energy = band.real**2 + band.imag**2
            # A sample stands for several pixels.
            pixels = energy.shape[-2] * energy.shape[-1] / (image.shape[-2] * image.shape[-1])
            statistics.append(jnp.moveaxis(windows(energy) * pixels, -2, -1))
        return jnp.concatenate(statistics, axis=-1)

    def default_loss(self, image: Array) -> Callable:
        """Return the mean squared difference, in units of the spread of each group."""
        return natural_loss(self, self.windows, image, self.statistic_groups)
