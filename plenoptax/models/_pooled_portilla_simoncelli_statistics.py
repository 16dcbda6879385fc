"""The statistics of Portilla and Simoncelli in windows."""

from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from .._safe import safe_sqrt
from .._types import Scalar
from ..process._fourier import crop_spectrum
from ..process._steerable_masks import level_shape
from ._portilla_simoncelli_statistics import _analytic as analytic_bands
from ._portilla_simoncelli_statistics import _deviation as floored_deviation
from ._portilla_simoncelli_statistics import _divide as safe_correlation
from ._portilla_simoncelli_statistics import _double_phase as double_phase
from ._portilla_simoncelli_statistics import _magnitude as magnitude_of
from ._portilla_simoncelli_statistics import Masks
from ._windows import triangles


Correlation: TypeAlias = Literal["product", "root"]
Weights: TypeAlias = Float[Array, "window rows columns"]
Maps: TypeAlias = Float[Array, "map rows columns"]

# A variance in a window is at least this share of the variance in the image.
_FLOOR = 1e-3


class Frame(NamedTuple):
    """The image inside of the larger image that is filtered.

    Attributes:
        image_shape: The height and width of the image.
        padded_shape: The height and width of the larger image. Filters wrap around its borders.
        offset: The number of rows above the image, and of columns left of it.
        margin: The number of samples around the image that shifts can reach.
    """

    image_shape: tuple[int, int]
    padded_shape: tuple[int, int]
    offset: int
    margin: int

    @property
    def is_circular(self) -> bool:
        """Whether the image itself is filtered."""
        return self.padded_shape == self.image_shape

    def level_shape(self, scale: int) -> tuple[int, int]:
        """Return the rows and columns of the samples that windows weigh at a scale."""
        if self.is_circular:
            return level_shape(self.image_shape, scale)
        # The last sample is at the last pixel or after it.
        rows, columns = (-(-(size - 1) // 2**scale) + 1 for size in self.image_shape)
        return rows, columns

    def pad(self, image: Float[Array, "height width"]) -> Float[Array, "rows columns"]:
        """Return the larger image, reflected at the borders."""
        after = [
            larger - self.offset - size
            for larger, size in zip(self.padded_shape, self.image_shape, strict=True)
        ]
        if self.is_circular:
            return image
        return jnp.pad(image, [(self.offset, count) for count in after], "symmetric")

    def take(self, maps: Maps, scale: int) -> Maps:
        """Return the samples of the image, with a margin on each side."""
        margin = self.margin
        if self.is_circular:
            return jnp.pad(maps, ((0, 0), (margin, margin), (margin, margin)), "wrap")
        rows, columns = self.level_shape(scale)
        start = self.offset // 2**scale - margin
        return maps[:, start : start + rows + 2 * margin, start : start + columns + 2 * margin]


def frame_image(
    image_shape: tuple[int, int], num_scales: int, width: int, *, is_circular: bool
) -> Frame:
    """Return the frame: itself, or with a border that the longest shift does not leave."""
    margin = width // 2
    if is_circular:
        return Frame(image_shape, image_shape, 0, margin)
    coarsest = 2**num_scales
    offset = (max(margin, 1) + 1) * coarsest
    height, width = (-(-(size + 2 * offset) // coarsest) * coarsest for size in image_shape)
    return Frame(image_shape, (height, width), offset, margin)


def level_weights(
    weights: Float[np.ndarray, "window height width"], frame: Frame, scale: int
) -> Float[np.ndarray, "window rows columns"]:
    """Return the weights of the samples of a scale.

    The weight of each pixel is divided between the samples around it as linear interpolation does,
    so windows keep their place.
    """
    counts = frame.level_shape(scale)
    rows, columns = (
        triangles(size, count, size / count if frame.is_circular else 2**scale)
        for size, count in zip(frame.image_shape, counts, strict=True)
    )
    if frame.is_circular:
        rows, columns = (one / one.sum(1, keepdims=True) for one in (rows, columns))
    found = rows @ weights @ columns.T
    return found / found.sum((1, 2), keepdims=True)


def measure_windows(
    image: Float[Array, "height width"],
    masks: Masks,
    levels: tuple[Weights, ...],
    frame: Frame,
    correlation: Correlation,
) -> dict[str, Float[Array, "window ..."]]:
    """Measure the groups of statistics in each window.

    Args:
        image: One channel.
        masks: The masks for the larger image.
        levels: The weights of the samples of each scale.
        frame: The place of the image in the larger image.
        correlation: How windows enter autocorrelations.

    Returns:
        The groups by name. After the windows, their axes are those of ``gather_indices``.
    """
    levels = jax.tree.map(partial(jnp.asarray, dtype=image.dtype), levels)
    # The FFT makes errors of a few eps of the root mean square. Smaller values are not signal.
    rounding = (8 * float(jnp.finfo(image.dtype).eps)) ** 2 * jnp.mean(image**2)
    mean = jnp.mean(image)
    centered = image - mean
    variance = jnp.mean(centered**2)
    spectrum = jnp.fft.fft2(frame.pad(image))
    high = jnp.fft.ifft2(spectrum * jnp.sqrt(jnp.asarray(masks.highpass, image.dtype))).real
    high = _inside(frame.take(high[None], 0), frame)
    parts: dict[str, list[Array]] = {}
    for scale, level in enumerate(masks.levels):
        spectrum = crop_spectrum(spectrum, level_shape(frame.padded_shape, scale))
        level = jax.tree.map(partial(jnp.asarray, dtype=spectrum.dtype), level)
        low = jnp.fft.ifft2(spectrum * level.lowpass).real[None]
        bands = None if level.bands is None else analytic_bands(spectrum, level.bands)
        maps = low if bands is None else jnp.concatenate([low, magnitude_of(bands)[0]])
        floor = 16.0**scale * rounding
        found = _shifted_statistics(
            levels[scale], frame.take(maps, scale), frame, correlation, floor, variance
        )
        if bands is not None:
            coarser = level.coarser_bands
            others = None if coarser is None else double_phase(analytic_bands(spectrum, coarser))
            taken = jax.tree.map(
                lambda maps, scale=scale: _inside(frame.take(maps, scale), frame),
                (maps[1:], bands.real, others),
            )
            found |= _band_statistics(levels[scale], *taken, floor)
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
    return {
        "pixel_statistics": _pixel_statistics(levels[0], centered, mean, variance, rounding),
        "var_highpass_residual": _pool(levels[0], high**2),
        **{name: jnp.stack(values, axis=1) for name, values in parts.items()},
    }


def _pixel_statistics(
    weights: Weights,
    centered: Float[Array, "height width"],
    mean: Scalar,
    variance: Scalar,
    rounding: Scalar,
) -> Float[Array, "window 4"]:
    """Compute mean, variance, skew and kurtosis of the pixels in each window."""
    means = _pool(weights, centered[None])[:, 0]
    second, third, fourth = _central_moments(weights, centered, means)
    # As n - 1 does for equal weights. Windows of fewer than two pixels have no variance.
    spread = second / jnp.maximum(1 - jnp.sum(weights**2, (1, 2)), 0.5)
    deviation = floored_deviation(jnp.maximum(spread, _FLOOR * variance), rounding)
    shape = _shape_statistics(third, fourth, deviation)
    return jnp.stack([means + mean, spread, *shape], axis=1)


def _shifted_statistics(
    weights: Weights,
    maps: Maps,
    frame: Frame,
    correlation: Correlation,
    floor: Scalar,
    image_variance: Scalar,
) -> dict[str, Float[Array, "window ..."]]:
    """Compute the statistics of single maps at one scale.

    Args:
        weights: The weights of the samples.
        maps: The reconstructed image, then the magnitudes of the oriented bands, with a margin.
        frame: The place of the image in the larger image.
        correlation: How windows enter autocorrelations.
        floor: The rounding floor of variances.
        image_variance: The variance of the pixels. Skew and kurtosis are not measured if the ratio
            of the variances is below the resolution of the dtype.
    """
    covariance_in = _root_covariance if correlation == "root" else _product_covariance
    means, covariance = covariance_in(weights, maps, frame)
    inside = _inside(maps, frame)
    variance = jnp.maximum(covariance[:, :, 0, frame.margin], _floor_of(inside)[None])
    deviation = floored_deviation(variance, floor)
    correlations = safe_correlation(covariance, deviation[:, :, None, None] ** 2)
    _, third, fourth = _central_moments(weights, inside[0], means[:, 0])
    is_flat = jnp.var(inside[0]) < float(jnp.finfo(maps.dtype).resolution) * image_variance
    skew, kurtosis = _shape_statistics(third, fourth, jnp.where(is_flat, 0, deviation[:, 0]))
    found = {
        "skew_reconstructed": skew,
        "kurtosis_reconstructed": kurtosis,
        "auto_correlation_reconstructed": correlations[:, 0],
        "std_reconstructed": deviation[:, 0],
    }
    if len(maps) == 1:
        return found
    return found | {
        "auto_correlation_magnitude": correlations[:, 1:],
        "magnitude_std": deviation[:, 1:],
    }


def _band_statistics(
    weights: Weights,
    magnitude: Maps,
    real: Maps,
    coarser: tuple[Maps, Maps, Maps] | None,
    floor: Scalar,
) -> dict[str, Float[Array, "window ..."]]:
    """Compute the correlations of bands at one scale, and with those of the next coarser one."""
    means = _pool(weights, magnitude)
    squares = _pool(weights, magnitude**2) - means**2
    deviation = floored_deviation(jnp.maximum(squares, _floor_of(magnitude)[None]), floor)
    products = _pool_products(weights, magnitude, magnitude)
    covariance = products - means[:, :, None] * means[:, None]
    name = "cross_orientation_correlation_magnitude"
    found = {name: _correlate(covariance, deviation, deviation)}
    if coarser is None:
        return found
    other, *doubled = coarser
    other = other - jnp.mean(other, (-2, -1), keepdims=True)
    other_means = _pool(weights, other)
    squares = _pool(weights, other**2) - other_means**2
    other_deviation = floored_deviation(jnp.maximum(squares, _floor_of(other)[None]), floor)
    covariance = _pool_products(weights, magnitude, other)
    covariance = covariance - means[:, :, None] * other_means[:, None]
    doubled = jnp.concatenate(doubled)
    # These bands have no mean, so their correlations do not subtract it.
    deviations = [
        floored_deviation(
            jnp.maximum(_pool(weights, maps**2), _FLOOR * jnp.mean(maps**2, (-2, -1))[None]), floor
        )
        for maps in (real, doubled)
    ]
    return found | {
        "cross_scale_correlation_magnitude": _correlate(covariance, deviation, other_deviation),
        "cross_scale_correlation_real": _correlate(
            _pool_products(weights, real, doubled), *deviations
        ),
    }


def _pool(weights: Weights, maps: Float[Array, "*maps rows columns"]) -> Array:
    """Return the mean of each map in each window, with the windows first."""
    flat = maps.reshape(-1, maps.shape[-2] * maps.shape[-1])
    pooled = jnp.matmul(weights.reshape(len(weights), -1), flat.T, precision=lax.Precision.HIGHEST)
    return pooled.reshape(len(weights), *maps.shape[:-2])


def _pool_products(
    weights: Weights, first: Maps, second: Float[Array, "other rows columns"]
) -> Float[Array, "window map other"]:
    return _pool(weights, first[:, None] * second[None])


# In the gradient, recomputing takes less memory than storing a map for each shift.
@partial(jax.checkpoint, static_argnums=2)
def _product_covariance(
    weights: Weights, maps: Maps, frame: Frame
) -> tuple[Float[Array, "window map"], Float[Array, "window map rows columns"]]:
    """Compute means and autocovariances, whose windows weigh the products of values.

    The covariance of x at shift d is the sum of w(p) (x(p) - m) (x(p + d) - m) over the samples p.

    Returns:
        The means, and the covariances at the shifts of one half plane.
    """
    (rows, columns), margin, count = weights.shape[1:], frame.margin, len(maps)
    along = jnp.concatenate([maps[:, i : i + rows] for i in range(margin, 2 * margin + 1)])
    moved = jnp.concatenate([along[:, :, i : i + columns] for i in range(2 * margin + 1)])
    moved = moved.reshape(2 * margin + 1, margin + 1, count, rows, columns)
    center = _inside(maps, frame)
    moved_means = _pool(weights, moved)
    means = moved_means[:, margin, 0]
    covariance = _pool(weights, moved * center[None, None]) - moved_means * means[:, None, None]
    return means, jnp.transpose(covariance, (0, 3, 2, 1))


@partial(jax.checkpoint, static_argnums=2)
def _root_covariance(
    weights: Weights, maps: Maps, frame: Frame
) -> tuple[Float[Array, "window map"], Float[Array, "window map rows columns"]]:
    """Compute means and autocovariances of the values times the root of the window.

    The covariance of x at shift d is the sum of y(p) y(p + d), where y = sqrt(w) (x - m).
    """
    margin, root = frame.margin, safe_sqrt(weights)
    mode = "wrap" if frame.is_circular else "constant"
    padded = jnp.pad(root, ((0, 0), (margin, margin), (margin, margin)), mode)
    center = _inside(maps, frame)
    means = _pool(weights, center)

    def measure_shift(shift: Array) -> Float[Array, "window map"]:
        start = (0, shift[0], shift[1])
        moved = lax.dynamic_slice(maps, start, center.shape)
        both = root * lax.dynamic_slice(padded, start, root.shape)
        pooled = _pool(both, jnp.stack([center * moved, center + moved]))
        total = jnp.sum(both, (1, 2))
        return pooled[:, 0] - means * pooled[:, 1] + means**2 * total[:, None]

    shifts = np.stack(np.indices((margin + 1, 2 * margin + 1)), -1).reshape(-1, 2)
    covariance = lax.map(measure_shift, jnp.asarray(shifts + [margin, 0]))
    covariance = covariance.reshape(margin + 1, 2 * margin + 1, *means.shape)
    return means, jnp.transpose(covariance, (2, 3, 0, 1))


@jax.checkpoint
def _central_moments(
    weights: Weights, values: Float[Array, "rows columns"], means: Float[Array, " window"]
) -> tuple[Float[Array, " window"], ...]:
    """Compute the second to fourth moment in each window about its own mean."""
    # Differences of raw moments would lose all digits where a window is far from the global mean.
    difference = values[None] - means[:, None, None]
    second, third, fourth = (jnp.sum(weights * difference**k, (1, 2)) for k in (2, 3, 4))
    return second, third, fourth


def _shape_statistics(
    third: Float[Array, " window"],
    fourth: Float[Array, " window"],
    deviation: Float[Array, " window"],
) -> list[Float[Array, " window"]]:
    """Compute skew and kurtosis; constant values have those of a Gaussian."""
    is_flat = deviation == 0
    scale = jnp.where(is_flat, 1, deviation)
    return [
        jnp.where(is_flat, *pair) for pair in ((0, third / scale**3), (3, fourth / scale**4))
    ]


def _correlate(
    covariance: Float[Array, "window first second"],
    first: Float[Array, "window first"],
    second: Float[Array, "window second"],
) -> Float[Array, "window first second"]:
    return safe_correlation(covariance, first[:, :, None] * second[:, None])


def _floor_of(maps: Maps) -> Float[Array, " map"]:
    return _FLOOR * jnp.var(maps, (-2, -1))


def _inside(maps: Maps, frame: Frame) -> Maps:
    """Return maps without their margin."""
    margin = frame.margin
    rows, columns = (size - 2 * margin for size in maps.shape[1:])
    return maps[:, margin : margin + rows, margin : margin + columns]
