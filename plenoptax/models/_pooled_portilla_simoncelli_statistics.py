"""The statistics of Portilla and Simoncelli in windows."""

from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .._safe import safe_sqrt
from .._types import Scalar
from ..process._fourier import crop_spectrum
from ..process._steerable_masks import level_shape
from ._portilla_simoncelli_statistics import (
    analytic_bands,
    double_phase,
    floored_deviation,
    magnitude_of,
    Masks,
    safe_correlation,
)
from ._windows import triangles


Correlation: TypeAlias = Literal["product", "root"]
Weights: TypeAlias = Float[Array, "window rows columns"]
# Of all scales, which have different numbers of samples.
Levels: TypeAlias = tuple[Float[Array, "window _ _"], ...]
# Of the samples that windows weigh, of these with a margin, and of the whole larger image.
Maps: TypeAlias = Float[Array, "_ rows columns"]
WideMaps: TypeAlias = Float[Array, "_ wide_rows wide_columns"]
WholeMaps: TypeAlias = Float[Array, "_ height width"]

# A variance in a window is at least this share of the variance in the image.
_FLOOR = 1e-3

# The least width of the border, in samples of the lowpass residual.
_BORDER = 4


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

    def take(self, maps: WholeMaps, scale: int) -> WideMaps:
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
    """Return the frame: the image itself, or with a border that shifts and filters need."""
    margin = width // 2
    if is_circular:
        return Frame(image_shape, image_shape, 0, margin)
    coarsest = 2**num_scales
    offset = max(margin + 1, _BORDER) * coarsest
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
    wraps = frame.is_circular
    rows, columns = (
        triangles(size, count, size / count if wraps else 2**scale, wraps=wraps)
        for size, count in zip(frame.image_shape, counts, strict=True)
    )
    found = rows @ weights @ columns.T
    return found / found.sum((1, 2), keepdims=True)


def measure_windows(
    image: Float[Array, "height width"],
    masks: Masks,
    levels: Levels,
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
    # The statistics do not depend on it, so no pixel outside of a window has a gradient by it.
    mean = lax.stop_gradient(jnp.mean(image))
    centered = image - mean
    variance = jnp.mean(centered**2)
    spectrum = jnp.fft.fft2(frame.pad(image))
    highpass = jnp.asarray(jnp.sqrt(masks.highpass), spectrum.dtype)
    high = jnp.fft.ifft2(spectrum * highpass).real
    high = _inside(frame.take(high[None], 0), frame)
    lowpasses, bands, pairs = [], [], []
    for scale, (level, weights) in enumerate(zip(masks.levels, levels, strict=True)):
        spectrum = crop_spectrum(spectrum, level_shape(frame.padded_shape, scale))
        level = jax.tree.map(partial(jnp.asarray, dtype=spectrum.dtype), level)
        low = frame.take(jnp.fft.ifft2(spectrum * level.lowpass).real[None], scale)
        if level.bands is None:
            lowpasses.append(_lowpass_moments(weights, low, None, frame, correlation)[0])
            continue
        band = analytic_bands(spectrum, level.bands)
        magnitude = frame.take(magnitude_of(band)[0], scale)
        found = _lowpass_moments(weights, low, magnitude, frame, correlation)
        lowpasses.append(found[0])
        bands.append(found[1])
        if level.coarser_bands is not None:
            coarser = double_phase(analytic_bands(spectrum, level.coarser_bands))
            maps = frame.take(jnp.concatenate([band.real, *coarser]), scale)
            maps = jnp.concatenate([_inside(magnitude, frame), _inside(maps, frame)])
            pairs.append(found[1] | _pair_moments(weights, maps, len(band)))
    measured = {
        "pixel_statistics": _pixel_statistics(levels[0], centered, mean, variance, rounding),
        "var_highpass_residual": _pool(levels[0], high**2),
    }
    for moments, statistics in (
        (lowpasses, partial(_lowpass_statistics, image_variance=variance)),
        (bands, _magnitude_statistics),
        (pairs, _pair_statistics),
    ):
        if moments:
            floors = rounding * jnp.asarray([16.0**k for k in range(len(moments))], image.dtype)
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *moments)
            found = statistics(stacked, floors)
            measured |= {name: jnp.moveaxis(values, 0, 1) for name, values in found.items()}
    return measured


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


def _lowpass_moments(
    weights: Weights,
    low: WideMaps,
    magnitude: WideMaps | None,
    frame: Frame,
    correlation: Correlation,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Compute moments of the reconstructed image, and of the magnitudes of the oriented bands.

    Args:
        weights: The weights of the samples.
        low: The reconstructed image, with a margin.
        magnitude: The magnitudes, with a margin.
        frame: The place of the image in the larger image.
        correlation: How windows enter autocorrelations.

    Returns:
        The moments of the first and of the second.
    """
    maps = low if magnitude is None else jnp.concatenate([low, magnitude])
    covariance_in = _root_covariance if correlation == "root" else _product_covariance
    means, covariance = covariance_in(weights, maps, frame)
    inside = _inside(maps, frame)
    mean_square = jnp.mean(inside**2, (-2, -1))
    _, third, fourth = _central_moments(weights, inside[0], means[:, 0])
    of_low = {
        "covariance": covariance[:, 0],
        "mean_square": mean_square[0],
        "third": third,
        "fourth": fourth,
    }
    if magnitude is None:
        return of_low, {}
    of_bands = {
        "mean": means[:, 1:],
        "covariance": covariance[:, 1:],
        "mean_square": mean_square[1:],
        "products": _pool_products(weights, inside[1:], inside[1:]),
    }
    return of_low, of_bands


def _pair_moments(weights: Weights, maps: Maps, count: int) -> dict[str, Array]:
    """Compute the moments of one scale with the next coarser one.

    Args:
        weights: The weights of the samples.
        maps: The magnitudes and the real parts of the finer bands, then the magnitudes of the
            coarser bands and their real and imaginary parts at twice their phase.
        count: The number of orientations.
    """
    magnitude, real, coarser = (maps[i * count : (i + 1) * count] for i in range(3))
    coarser = coarser - jnp.mean(coarser, (-2, -1), keepdims=True)
    doubled = maps[3 * count :]
    # The coarser magnitudes alone have a mean.
    singles = jnp.concatenate([coarser, real, doubled])
    return {
        "magnitude": _pool_products(weights, magnitude, coarser),
        "coarser_mean": _pool(weights, coarser),
        "real": _pool_products(weights, real, doubled),
        "squares": _pool(weights, singles**2),
        "square_floors": _FLOOR * jnp.mean(singles**2, (-2, -1)),
    }


def _lowpass_statistics(
    moments: dict[str, Array], floors: Float[Array, " level"], image_variance: Scalar
) -> dict[str, Float[Array, "level window ..."]]:
    """Compute the groups of reconstructed images from moments stacked over levels.

    Args:
        moments: The moments.
        floors: The rounding floors of variances.
        image_variance: The variance of the pixels. Skew and kurtosis are not measured if the ratio
            of the variances is below the resolution of the dtype.
    """
    covariance, mean_square = moments["covariance"], moments["mean_square"]
    variance = jnp.maximum(_at_center(covariance), _FLOOR * mean_square[:, None])
    deviation = floored_deviation(variance, floors[:, None])
    resolution = float(jnp.finfo(variance.dtype).resolution)
    is_flat = (mean_square < resolution * image_variance)[:, None]
    skew, kurtosis = _shape_statistics(
        moments["third"], moments["fourth"], jnp.where(is_flat, 0, deviation)
    )
    return {
        "skew_reconstructed": skew,
        "kurtosis_reconstructed": kurtosis,
        "auto_correlation_reconstructed": safe_correlation(
            covariance, deviation[..., None, None] ** 2
        ),
        "std_reconstructed": deviation,
    }


def _magnitude_statistics(
    moments: dict[str, Array], floors: Float[Array, " level"]
) -> dict[str, Float[Array, "level window ..."]]:
    """Compute the groups of magnitudes within scales from moments stacked over levels."""
    deviation = _magnitude_deviation(moments, floors)
    mean, covariance = moments["mean"], moments["covariance"]
    return {
        "auto_correlation_magnitude": safe_correlation(covariance, deviation[..., None, None] ** 2),
        "cross_orientation_correlation_magnitude": _correlate(
            moments["products"] - _outer(mean, mean), deviation, deviation
        ),
        "magnitude_std": deviation,
    }


def _pair_statistics(
    moments: dict[str, Array], floors: Float[Array, " level"]
) -> dict[str, Float[Array, "level window ..."]]:
    """Compute the groups that compare scales from moments stacked over levels."""
    mean, coarser_mean = moments["mean"], moments["coarser_mean"]
    count = mean.shape[-1]
    variance = moments["squares"]
    variance = jnp.concatenate(
        [variance[..., :count] - coarser_mean**2, variance[..., count:]], axis=-1
    )
    variance = jnp.maximum(variance, moments["square_floors"][:, None])
    deviation = floored_deviation(variance, floors[:, None, None])
    coarser, real, doubled = (
        deviation[..., part]
        for part in (slice(count), slice(count, 2 * count), slice(2 * count, None))
    )
    return {
        "cross_scale_correlation_magnitude": _correlate(
            moments["magnitude"] - _outer(mean, coarser_mean),
            _magnitude_deviation(moments, floors),
            coarser,
        ),
        "cross_scale_correlation_real": _correlate(moments["real"], real, doubled),
    }


def _magnitude_deviation(
    moments: dict[str, Array], floors: Float[Array, " level"]
) -> Float[Array, "level window map"]:
    variance = _at_center(moments["covariance"])
    variance = jnp.maximum(variance, _FLOOR * moments["mean_square"][:, None])
    return floored_deviation(variance, floors[:, None, None])


def _at_center(covariance: Float[Array, "*maps down across"]) -> Float[Array, "*maps"]:
    """Return the variance: the autocovariance at shift 0."""
    return covariance[..., 0, covariance.shape[-1] // 2]


def _outer(
    first: Float[Array, "*windows one"], second: Float[Array, "*windows other"]
) -> Float[Array, "*windows one other"]:
    return first[..., :, None] * second[..., None, :]


def _pool(weights: Weights, maps: Float[Array, "*maps rows columns"]) -> Array:
    """Return the mean of each map in each window, with the windows first."""
    flat = maps.reshape(-1, maps.shape[-2] * maps.shape[-1])
    pooled = jnp.matmul(weights.reshape(len(weights), -1), flat.T, precision=lax.Precision.HIGHEST)
    return pooled.reshape(len(weights), *maps.shape[:-2])


def _pool_products(
    weights: Weights, first: Maps, second: Maps
) -> Float[Array, "window first second"]:
    return _pool(weights, first[:, None] * second[None])


# In the gradient, recomputing takes less memory than storing a map for each shift.
@partial(jax.checkpoint, static_argnums=2)
def _product_covariance(
    weights: Weights, maps: WideMaps, frame: Frame
) -> tuple[Float[Array, "window map"], Float[Array, "window map down across"]]:
    """Compute means and autocovariances, whose windows weigh the products of values.

    The covariance of x at shift d is the sum of w(p) (x(p) - m) (x(p + d) - m) over the samples p.

    Returns:
        The means, and the covariances at the shifts of one half plane.
    """
    size = (len(maps), *weights.shape[1:])
    # One gather of large pieces compiles much faster than a slice for each shift.
    moved = jax.vmap(lambda shift: lax.dynamic_slice(maps, shift, size))(_shifts(frame.margin))
    center = _inside(maps, frame)
    moved_means = _pool(weights, moved)
    means = moved_means[:, frame.margin]
    covariance = _pool(weights, moved * center[None]) - moved_means * means[:, None]
    return means, _arrange_shifts(covariance, frame.margin)


@partial(jax.checkpoint, static_argnums=2)
def _root_covariance(
    weights: Weights, maps: WideMaps, frame: Frame
) -> tuple[Float[Array, "window map"], Float[Array, "window map down across"]]:
    """Compute means and autocovariances of the values times the root of the window.

    The covariance of x at shift d is the sum of y(p) y(p + d), where y = sqrt(w) (x - m).
    """
    margin, root = frame.margin, safe_sqrt(weights)
    mode = "wrap" if frame.is_circular else "constant"
    padded = jnp.pad(root, ((0, 0), (margin, margin), (margin, margin)), mode)
    center = _inside(maps, frame)
    means = _pool(weights, center)

    def measure_shift(shift: Array) -> Float[Array, "window map"]:
        moved = lax.dynamic_slice(maps, shift, center.shape)
        both = root * lax.dynamic_slice(padded, shift, root.shape)
        pooled = _pool(both, jnp.stack([center * moved, center + moved]))
        total = jnp.sum(both, (1, 2))
        return pooled[:, 0] - means * pooled[:, 1] + means**2 * total[:, None]

    covariance = jnp.moveaxis(lax.map(measure_shift, _shifts(margin)), 0, 1)
    return means, _arrange_shifts(covariance, margin)


def _shifts(margin: int) -> Int[Array, "shift 3"]:
    """Return the starts of the shifts of one half plane, in maps with a margin."""
    shifts = np.indices((1, margin + 1, 2 * margin + 1)).reshape(3, -1).T
    return jnp.asarray(shifts + [0, margin, 0], jnp.int32)


def _arrange_shifts(
    covariance: Float[Array, "window shift map"], margin: int
) -> Float[Array, "window map down across"]:
    windows, _, maps = covariance.shape
    return jnp.moveaxis(covariance, 1, 2).reshape(windows, maps, margin + 1, 2 * margin + 1)


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
    third: Float[Array, "*window"],
    fourth: Float[Array, "*window"],
    deviation: Float[Array, "*window"],
) -> list[Float[Array, "*window"]]:
    """Compute skew and kurtosis; constant values have those of a Gaussian."""
    is_flat = deviation == 0
    scale = jnp.where(is_flat, 1, deviation)
    return [jnp.where(is_flat, *pair) for pair in ((0, third / scale**3), (3, fourth / scale**4))]


def _correlate(
    covariance: Float[Array, "*windows one other"],
    first: Float[Array, "*windows one"],
    second: Float[Array, "*windows other"],
) -> Float[Array, "*windows one other"]:
    return safe_correlation(covariance, _outer(first, second))


def _inside(maps: WideMaps, frame: Frame) -> Maps:
    """Return maps without their margin."""
    margin = frame.margin
    rows, columns = (size - 2 * margin for size in maps.shape[1:])
    return maps[:, margin : margin + rows, margin : margin + columns]
