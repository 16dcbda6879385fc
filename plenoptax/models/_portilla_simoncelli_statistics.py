from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from .._types import Scalar
from ..process._fourier import crop_spectrum
from ..process._steerable_masks import angular_mask, frequency_grid, level_shape, radial_masks
from ._portilla_simoncelli_layout import (
    gather_indices,
    HIGHPASS,
    Label,
    LOWPASS,
    PIXELS,
    statistic_groups,
)


CITATION = """@article{portilla2000parametric,
  author = {Portilla, Javier and Simoncelli, Eero P.},
  title = {A Parametric Texture Model Based on Joint Statistics of Complex Wavelet Coefficients},
  journal = {International Journal of Computer Vision},
  volume = {40}, number = {1}, pages = {49--70}, year = {2000},
  doi = {10.1023/A:1026553619983}
}"""


Bands: TypeAlias = Float[Array, "orientations height width"]
AnalyticBands: TypeAlias = Complex[Array, "orientations height width"]
# For the rows and the columns of a spectrum: cosines and sines of each shift.
Waves: TypeAlias = tuple[Float[Array, "2 rows height"], Float[Array, "2 columns half_width"]]


class LevelMasks(NamedTuple):
    """The masks that multiply the spectrum of an image on one level, in the order of ``fft2``.

    Attributes:
        lowpass: For the image without the finer scales and without its mean.
        bands: For the analytic oriented bands of the scale. None for the lowpass residual.
        coarser_bands: For the bands of the next scale, sampled like this scale. None if there is no
            next scale.
    """

    lowpass: Float[Array, "height width"]
    bands: Bands | None
    coarser_bands: Bands | None


class Masks(NamedTuple):
    """The square of the highpass mask, and the masks of all levels from fine to coarse."""

    highpass: Float[Array, "height width"]
    levels: tuple[LevelMasks, ...]


def texture_masks(
    image_shape: tuple[int, int],
    num_scales: int,
    num_orientations: int,
    dtype: jnp.dtype | None = None,
) -> Masks:
    """Compute the masks in float64 NumPy, and convert them at the end.

    A reconstruction from the steerable pyramid that begins at some scale multiplies the spectrum by
    the square of the lowpass mask of that scale, because the oriented bands and all coarser levels
    add up to it. So the reconstructed images need no pyramid.

    A level with ``m`` of the ``n`` samples of the image is scaled by ``4**scale * m / n``, which is
    1 if sizes halve evenly. Amplitudes then grow fourfold with each scale at any size.
    """
    orientations = np.arange(num_orientations)[:, None, None]
    levels = []
    for scale in range(num_scales + 1):
        shape = level_shape(image_shape, scale)
        gain = 4.0**scale * np.prod(shape) / np.prod(image_shape)
        radius, angle = frequency_grid(shape, image_shape)
        lowpass, _ = radial_masks(radius, scale)
        coarser_lowpass, highpass = radial_masks(radius, scale + 1)
        _, coarser_highpass = radial_masks(radius, scale + 2)
        oriented = gain * angular_mask(angle[None], num_orientations - 1, orientations, True)
        bands = jnp.asarray(oriented * lowpass * highpass, dtype)
        coarser_bands = jnp.asarray(oriented * coarser_lowpass * coarser_highpass, dtype)
        without_mean = np.where(radius == 0, 0, gain * lowpass**2)
        levels.append(
            LevelMasks(
                jnp.asarray(without_mean, dtype),
                bands if scale < num_scales else None,
                coarser_bands if scale < num_scales - 1 else None,
            )
        )
    radius, _ = frequency_grid(image_shape, image_shape)
    _, highpass = radial_masks(radius, 0)
    return Masks(jnp.asarray(highpass**2, dtype), tuple(levels))


@partial(jax.jit, static_argnames=("num_orientations", "width", "scales", "has_means"))
def represent(
    image: Float[Array, "channel height width"],
    masks: Masks,
    num_orientations: int,
    width: int,
    scales: tuple[Label, ...],
    has_means: bool,
) -> Float[Array, "channel statistic"]:
    """Compute the statistics of each channel, as described in `PortillaSimoncelli.__call__`."""
    groups = statistic_groups(len(masks.levels) - 1, num_orientations, width, has_means)
    indices = gather_indices(groups, scales)

    def represent_channel(channel: Float[Array, "height width"]) -> Float[Array, " statistic"]:
        measured = measure(channel, masks, width, scales)
        values = [measured[name].ravel() for name in groups if name in measured]
        # Indices are in bounds and unique. Telling XLA lets it scatter gradients without a check.
        statistics = jnp.concatenate(values).at[indices]
        return statistics.get(mode="promise_in_bounds", unique_indices=True)

    # On the CPU, XLA multiplies matrices faster than batches of matrices, even batches of one.
    if len(image) == 1:
        return represent_channel(image[0])[None]
    return jax.vmap(represent_channel)(image)


def measure(
    image: Float[Array, "height width"], masks: Masks, num_shifts: int, scales: tuple[Label, ...]
) -> dict[str, Float[Array, "..."]]:
    """Measure the groups of statistics that belong to some scales.

    Args:
        image: One channel.
        masks: The masks for this size of image.
        num_shifts: Width of the autocorrelations.
        scales: The labels of the statistics to compute.

    Returns:
        The groups by name, with the axes described in ``gather_indices``. Groups without statistics
        of these scales are missing.
    """
    rounding = rounding_variance(jnp.mean(image**2))
    mean, centered, variance = center(image)
    height, width = image.shape
    spectrum = jnp.fft.fft2(image)
    measured = {}
    if PIXELS in scales:
        skew, kurtosis = shape_moments(centered, floored_deviation(variance, rounding))
        pixels = [mean, variance, skew, kurtosis, jnp.min(image), jnp.max(image)]
        measured["pixel_statistics"] = jnp.stack(pixels)
    if HIGHPASS in scales:
        power = squared_magnitude(spectrum) * jnp.asarray(masks.highpass, image.dtype)
        measured["var_highpass_residual"] = jnp.mean(power)[None] / image.size

    lowpasses, bands, pairs = {}, {}, {}
    for scale, level in enumerate(masks.levels):
        shape = level_shape((height, width), scale)
        spectrum = crop_spectrum(spectrum, shape)
        if (LOWPASS if level.bands is None else scale) not in scales:
            continue
        level = jax.tree.map(partial(jnp.asarray, dtype=spectrum.dtype), level)
        waves = shift_waves(shape, (height, width), scale, num_shifts, image.dtype)
        floor = 16.0**scale * rounding
        lowpasses[scale] = lowpass_moments(spectrum * level.lowpass, waves, floor, variance)
        if level.bands is not None:
            band = analytic_bands(spectrum, level.bands)
            coarser = level.coarser_bands
            coarser = None if coarser is None else analytic_bands(spectrum, coarser)
            bands[scale], of_pairs = band_moments(band, coarser, waves)
            if of_pairs is not None:
                pairs[scale] = of_pairs
    return measured | combine_scales(lowpasses, bands, pairs, rounding, rounding[None])


def rounding_variance(mean_square: Float[Array, "*channel"]) -> Float[Array, "*channel"]:
    """Return the variance below which values of this mean square are not signal.

    The FFT makes errors of a few eps of the root mean square.
    """
    return (8 * float(jnp.finfo(mean_square.dtype).eps)) ** 2 * mean_square


def center(
    image: Float[Array, "height width"],
) -> tuple[Scalar, Float[Array, "height width"], Scalar]:
    """Return the mean, the differences from the mean, and the variance."""
    mean = jnp.mean(image)
    # The mean of many pixels has an error of many eps; the mean of the differences does not.
    correction = jnp.mean(image - mean)
    mean, centered = mean + correction, image - mean - correction
    return mean, centered, jnp.sum(centered**2) / (image.size - 1)


def band_moments(
    band: AnalyticBands, coarser: AnalyticBands | None, waves: Waves
) -> tuple[dict[str, Array], dict[str, Array] | None]:
    """Compute the moments of the bands of one scale, and those with the next coarser one.

    Args:
        band: The bands, of one or several channels.
        coarser: The bands of the next coarser scale, sampled like these, if there is one.
        waves: The waves of the level.
    """
    magnitude, mean = magnitude_of(band)
    moments = {
        "shifted": autocovariance_at(jnp.fft.rfft2(magnitude), waves),
        "oriented": mean_products(magnitude, magnitude),
        "mean": mean,
    }
    if coarser is None:
        return moments, None
    pairs = _pair_moments(magnitude, band.real, *double_phase(coarser))
    return moments, pairs | {"variance": jnp.diagonal(moments["oriented"])}


def combine_scales(
    lowpasses: dict[int, dict[str, Array]],
    bands: dict[int, dict[str, Array]],
    pairs: dict[int, dict[str, Array]],
    rounding: Float[Array, "*channel"],
    band_rounding: Float[Array, " band"],
) -> dict[str, Array]:
    """Compute the groups of statistics from the moments of each scale.

    Args:
        lowpasses: Moments of the reconstructed images, of one or several channels, by scale.
        bands: Moments of the bands.
        pairs: Moments of pairs of scales.
        rounding: The rounding floor of the variance of each channel at scale 0.
        band_rounding: That floor for each band, or one for all bands.
    """
    measured = {}
    for moments, statistics, floor in (
        (lowpasses, _lowpass_statistics, rounding),
        (bands, _magnitude_statistics, band_rounding),
        (pairs, _pair_statistics, band_rounding),
    ):
        if moments:
            factors = jnp.asarray([16.0**scale for scale in moments], floor.dtype)
            floors = factors.reshape(-1, *[1] * floor.ndim) * floor[None]
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *moments.values())
            measured |= statistics(stacked, floors)
    return measured


def lowpass_moments(
    spectrum: Complex[Array, "height width"], waves: Waves, floor: Scalar, image_variance: Scalar
) -> dict[str, Array]:
    """Compute autocovariance, skew and kurtosis of the image reconstructed from one scale on.

    Args:
        spectrum: Spectrum of the reconstructed image, in the order of ``fft2``.
        waves: The waves of its level.
        floor: The rounding floor of the variance.
        image_variance: The variance of the pixels. Skew and kurtosis are not measured if the ratio
            of the variances is below the resolution of the dtype.
    """
    half = spectrum[:, : spectrum.shape[1] // 2 + 1]
    covariance = autocovariance_at(half, waves)
    variance = at_center(covariance)
    resolution = float(jnp.finfo(variance.dtype).resolution)
    is_flat = variance < resolution * image_variance
    deviation = jnp.where(is_flat, 0, floored_deviation(variance, floor))
    skew, kurtosis = shape_moments(jnp.fft.irfft2(half, s=spectrum.shape), deviation)
    return {"covariance": covariance, "skew": skew, "kurtosis": kurtosis}


def _lowpass_statistics(
    moments: dict[str, Array], floors: Float[Array, "level *channel"]
) -> dict[str, Array]:
    """Compute the groups of reconstructed images from moments stacked over levels."""
    deviation = floored_deviation(at_center(moments["covariance"]), floors)
    return {
        "skew_reconstructed": moments["skew"],
        "kurtosis_reconstructed": moments["kurtosis"],
        "auto_correlation_reconstructed": shift_correlation(moments["covariance"], deviation),
        "std_reconstructed": deviation,
    }


def _magnitude_statistics(
    moments: dict[str, Array], floors: Float[Array, "level band"]
) -> dict[str, Array]:
    """Compute the groups of magnitudes within scales from moments stacked over levels."""
    deviation = floored_deviation(at_center(moments["shifted"]), floors)
    return {
        "auto_correlation_magnitude": shift_correlation(moments["shifted"], deviation),
        "cross_orientation_correlation_magnitude": band_correlation(
            moments["oriented"], deviation, deviation
        ),
        "magnitude_std": deviation,
        "magnitude_means": moments["mean"],
    }


def _pair_moments(
    magnitude: Bands, real: Bands, coarser: Bands, doubled_real: Bands, doubled_imaginary: Bands
) -> dict[str, Array]:
    """Compute the covariances of one scale with the next coarser one, and the variances.

    Args:
        magnitude: Magnitudes of the finer bands, minus their means.
        real: Real parts of the finer bands.
        coarser: Magnitudes of the coarser bands, sampled like the finer ones.
        doubled_real: Real parts of the coarser bands at twice their phase.
        doubled_imaginary: Imaginary parts of the coarser bands at twice their phase.
    """
    centered = coarser - jnp.mean(coarser, (-2, -1), keepdims=True)
    doubled = (doubled_real, doubled_imaginary)
    return {
        # The mean of the finer magnitude is 0, so the mean of the coarser one does not matter.
        "magnitude": mean_products(magnitude, coarser),
        "coarser_variance": _mean_square(centered),
        "real": jnp.concatenate([mean_products(real, band) for band in doubled], axis=1),
        "real_variance": _mean_square(real),
        "doubled_variance": jnp.concatenate([_mean_square(band) for band in doubled]),
    }


def _pair_statistics(
    moments: dict[str, Array], floors: Float[Array, "level band"]
) -> dict[str, Array]:
    """Compute the groups that compare scales from moments stacked over levels."""

    def deviation(name: str) -> Float[Array, "level _"]:
        # There are two doubled bands, real and imaginary, for each of the others.
        variance = moments[name].reshape(len(floors), -1, moments["variance"].shape[1])
        return floored_deviation(variance, floors[:, None]).reshape(len(floors), -1)

    return {
        "cross_scale_correlation_magnitude": band_correlation(
            moments["magnitude"], deviation("variance"), deviation("coarser_variance")
        ),
        "cross_scale_correlation_real": band_correlation(
            moments["real"], deviation("real_variance"), deviation("doubled_variance")
        ),
    }


def analytic_bands(spectrum: Complex[Array, "height width"], masks: AnalyticBands) -> AnalyticBands:
    """Compute oriented bands. The factor ``(-1j)**order`` makes responses to real images real."""
    phase = (1, -1j, -1, 1j)[(len(masks) - 1) % 4]
    return jnp.fft.ifft2((jnp.asarray(phase, spectrum.dtype) * spectrum)[None] * masks)


# In these two functions the gradient needs only the bands. Recomputing the other values takes less
# time than storing and loading them.
@jax.checkpoint
def magnitude_of(bands: AnalyticBands) -> tuple[Bands, Float[Array, " orientations"]]:
    """Return magnitudes minus their means, and the means."""
    squared = squared_magnitude(bands)
    is_zero = squared < jnp.finfo(squared.dtype).tiny
    magnitude = jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, squared)))
    mean = jnp.mean(magnitude, (-2, -1))
    return magnitude - mean[:, None, None], mean


@jax.checkpoint
def double_phase(bands: AnalyticBands) -> tuple[Bands, Bands, Bands]:
    """Return magnitudes, and the real and imaginary parts of ``z**2 / abs(z)``."""
    squared = squared_magnitude(bands)
    is_zero = squared < jnp.finfo(squared.dtype).tiny
    magnitude = jnp.sqrt(jnp.where(is_zero, 1, squared))
    inverse = jnp.where(is_zero, 0, 1 / magnitude)
    # This order avoids overflow in the gradient where bands are faint.
    cosine, sine = bands.real * inverse, bands.imag * inverse
    real = bands.real * cosine - bands.imag * sine
    return squared * inverse, real, 2 * bands.real * sine


def shift_waves(
    level_shape: tuple[int, int],
    image_shape: tuple[int, int],
    scale: int,
    num_shifts: int,
    dtype: jnp.dtype,
) -> Waves:
    """Return waves that evaluate an autocovariance at shifts of ``2**scale`` pixels of the image.

    The sum over the half spectrum counts every column twice, except the first and, at even widths,
    the last. The column sines include the minus sign of ``cos(a + b) = cos a cos b - sin a sin b``.
    """
    center = num_shifts // 2
    rows, columns = level_shape
    phase = 2 * np.pi * 2**scale * np.outer(range(center + 1), np.fft.fftfreq(rows, 1 / rows))
    row_waves = np.stack([np.cos(phase / image_shape[0]), np.sin(phase / image_shape[0])])
    frequencies = np.arange(columns // 2 + 1)
    counts = np.where((frequencies == 0) | (2 * frequencies == columns), 1, 2)
    phase = 2 * np.pi * 2**scale * np.outer(range(-center, center + 1), frequencies)
    phase = phase / image_shape[1]
    column_waves = counts / (rows * columns) ** 2 * np.stack([np.cos(phase), -np.sin(phase)])
    return jnp.asarray(row_waves, dtype), jnp.asarray(column_waves, dtype)


def autocovariance_at(
    half_spectrum: Complex[Array, "*bands height half_width"], waves: Waves
) -> Float[Array, "*bands rows columns"]:
    """Invert the transform of the power spectrum, only at the shifts of the waves."""
    row_waves, column_waves = waves
    partial = jnp.einsum(
        "...yx,wbx->...ywb",
        squared_magnitude(half_spectrum),
        column_waves,
        precision=lax.Precision.HIGHEST,
    )
    return jnp.einsum("way,...ywb->...ab", row_waves, partial, precision=lax.Precision.HIGHEST)


def at_center(covariance: Float[Array, "*bands rows columns"]) -> Float[Array, "*bands"]:
    """Return the variance: the autocovariance at shift 0."""
    return covariance[..., 0, covariance.shape[-1] // 2]


def mean_products(
    first: Float[Array, "first height width"], second: Float[Array, "second height width"]
) -> Float[Array, "first second"]:
    """Return the means of products of bands, if all bands of one argument have mean 0."""
    first, second = (bands.reshape(len(bands), -1) for bands in (first, second))
    products = jnp.matmul(first, second.T, precision=lax.Precision.HIGHEST)
    return products / first.shape[1]


def _mean_square(bands: Bands) -> Float[Array, " orientations"]:
    return jnp.mean(bands**2, (-2, -1))


def squared_magnitude(values: Complex[Array, "..."]) -> Float[Array, "..."]:
    return values.real**2 + values.imag**2


def floored_deviation(
    variance: Float[Array, "..."], floor: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Return the square root of a variance; below the rounding floor, 0 with gradient 0."""
    is_flat = variance <= floor
    return jnp.where(is_flat, 0, jnp.sqrt(jnp.where(is_flat, 1, variance)))


def shape_moments(values: Float[Array, "height width"], deviation: Scalar) -> list[Scalar]:
    """Return skew and kurtosis of values with mean 0; constant values have those of a Gaussian."""
    is_flat = deviation == 0
    values = values / jnp.where(is_flat, 1, deviation)
    moments = jnp.mean(values**3), jnp.mean(values**4)
    return [jnp.where(is_flat, *pair) for pair in zip((0, 3), moments, strict=True)]


def shift_correlation(
    covariance: Float[Array, "*bands rows columns"], deviation: Float[Array, "*bands"]
) -> Float[Array, "*bands rows columns"]:
    return safe_correlation(covariance, deviation[..., None, None] ** 2)


def band_correlation(
    covariance: Float[Array, "level first second"],
    first: Float[Array, "level first"],
    second: Float[Array, "level second"],
) -> Float[Array, "level first second"]:
    return safe_correlation(covariance, first[:, :, None] * second[:, None, :])


def safe_correlation(
    covariance: Float[Array, "..."], scale: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Return a correlation; 0 with gradient 0 where one of the two signals is constant."""
    # The gradient divides by the square.
    is_flat = scale**2 < jnp.finfo(scale.dtype).tiny
    return jnp.where(is_flat, 0, covariance / jnp.where(is_flat, 1, scale))
