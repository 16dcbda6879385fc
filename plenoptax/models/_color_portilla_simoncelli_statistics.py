from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from ..process._fourier import crop_spectrum
from ..process._steerable_masks import frequency_grid, level_shape, radial_masks
from ._color_portilla_simoncelli_layout import (
    color_gather_indices,
    color_groups,
    LOWPASS_SHIFTS,
    NUM_DIRECTIONS,
    NUM_QUANTILES,
)
from ._color_quantiles import mean_of_sorted_parts
from ._portilla_simoncelli_layout import HIGHPASS, Label, LOWPASS, PIXELS
from ._portilla_simoncelli_statistics import (
    analytic_bands,
    AnalyticBands,
    at_center,
    autocovariance_at,
    band_correlation,
    band_moments,
    center,
    combine_scales,
    floored_deviation,
    lowpass_moments,
    Masks,
    mean_products,
    rounding_variance,
    shape_moments,
    shift_correlation,
    shift_waves,
    squared_magnitude,
    texture_masks,
)


Channels: TypeAlias = Float[Array, "3 height width"]


class ColorMasks(NamedTuple):
    """The masks of the gray model, and the signals of the lowpass residual.

    Attributes:
        texture: The masks of the gray model.
        shifted_lowpass: For the lowpass residual and its shifted copies, without the mean, sampled
            like the coarsest bands.
    """

    texture: Masks
    shifted_lowpass: Complex[Array, "shift height width"]


def color_masks(
    image_shape: tuple[int, int],
    num_scales: int,
    num_orientations: int,
    dtype: jnp.dtype | None = None,
) -> ColorMasks:
    """Compute the masks in float64 NumPy, and convert them at the end."""
    scale = num_scales - 1
    shape = level_shape(image_shape, scale)
    radius, _ = frequency_grid(shape, image_shape)
    lowpass, _ = radial_masks(radius, num_scales)
    gain = 4.0**scale * np.prod(shape) / np.prod(image_shape)
    lowpass = np.where(radius == 0, 0, gain * lowpass)
    rows, columns = (
        np.exp(-2j * np.pi * 2**num_scales * np.outer(shift, np.fft.fftfreq(n, 1 / n) / size))
        for shift, n, size in zip(np.transpose(LOWPASS_SHIFTS), shape, image_shape, strict=True)
    )
    shifted = lowpass * rows[:, :, None] * columns[:, None, :]
    dtype = dtype or jnp.result_type(float)
    return ColorMasks(
        texture_masks(image_shape, num_scales, num_orientations, dtype),
        jnp.asarray(shifted, np.result_type(dtype, np.complex64)),
    )


@partial(
    jax.jit, static_argnames=("num_orientations", "width", "scales", "linear", "has_quantiles")
)
def represent_color(
    image: Channels,
    matrix: Float[Array, "3 3"],
    masks: ColorMasks,
    num_orientations: int,
    width: int,
    scales: tuple[Label, ...],
    linear: bool,
    has_quantiles: bool,
) -> Float[Array, " statistic"]:
    """Compute the statistics, as described in `ColorPortillaSimoncelli.__call__`."""
    groups = color_groups(len(masks.texture.levels) - 1, num_orientations, width, has_quantiles)
    measured = measure_color(image, matrix, masks, width, scales, linear, has_quantiles)
    values = [measured[name].ravel() for name in groups if name in measured]
    statistics = jnp.concatenate(values).at[color_gather_indices(groups, scales)]
    return statistics.get(mode="promise_in_bounds", unique_indices=True)


def measure_color(
    image: Channels,
    matrix: Float[Array, "3 3"],
    masks: ColorMasks,
    num_shifts: int,
    scales: tuple[Label, ...],
    linear: bool,
    has_quantiles: bool,
) -> dict[str, Float[Array, "..."]]:
    """Measure the groups of statistics that belong to some scales.

    Args:
        image: The pixels.
        matrix: The matrix from the channels of the image to those whose bands are measured.
        masks: The masks for this size of image.
        num_shifts: Width of the autocorrelations.
        scales: The labels of the statistics to compute.
        linear: Whether pixel values are converted to linear light first.
        has_quantiles: Whether the quantiles of the colors are measured.

    Returns:
        The groups by name, with the axes described in ``color_gather_indices``. Groups without
        statistics of these scales are missing.
    """
    values = to_linear_light(image) if linear else image
    channels = jnp.einsum("ij,jhw->ihw", matrix, values, precision=lax.Precision.HIGHEST)
    # A channel can be a small difference of large values, which then determine its rounding errors.
    sizes = jnp.max(jnp.abs(values), (1, 2))
    rounding = rounding_variance(jnp.sum(jnp.abs(matrix) * sizes[None], axis=1) ** 2)
    _, centered, variance = jax.vmap(center)(channels)
    spectrum = jnp.fft.fft2(channels)
    measured = {}
    if PIXELS in scales:
        measured |= _pixel_statistics(image)
        measured |= _transformed_statistics(centered, rounding, num_shifts)
        if has_quantiles:
            measured["color_quantiles"] = color_quantiles(channels)
    if HIGHPASS in scales:
        highpass = jnp.asarray(masks.texture.highpass, image.dtype)[None]
        power = squared_magnitude(spectrum) * highpass
        measured["var_highpass_residual"] = jnp.mean(power, (1, 2))[None] / image[0].size
    levels = _crop_levels(spectrum, masks.texture)
    bands = {
        scale: _channel_bands(levels[scale], level.bands)
        for scale, level in enumerate(masks.texture.levels)
        if scale in scales
    }
    return (
        measured
        | _scale_statistics(levels, bands, masks.texture, num_shifts, scales, variance, rounding)
        | _coarsest_statistics(levels[-2], bands, masks, scales, rounding)
    )


def to_linear_light(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Decode sRGB; values outside [0, 1] follow the same two curves."""
    curve = ((jnp.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4
    return jnp.where(values <= 0.04045, values / 12.92, curve)


def _crop_levels(
    spectrum: Complex[Array, "3 height width"], masks: Masks
) -> list[Complex[Array, "3 _ _"]]:
    levels = []
    for level in masks.levels:
        height, width = level.lowpass.shape
        spectrum = crop_spectrum(spectrum, (height, width))
        levels.append(spectrum)
    return levels


def _pixel_statistics(image: Channels) -> dict[str, Array]:
    mean, centered, variance = jax.vmap(center)(image)
    deviation = floored_deviation(variance, rounding_variance(jnp.mean(image**2, (1, 2))))
    moments = jax.vmap(shape_moments)(centered, deviation)
    extremes = jnp.min(image, (1, 2)), jnp.max(image, (1, 2))
    flat = centered.reshape(len(centered), -1)
    products = jnp.matmul(flat, flat.T, precision=lax.Precision.HIGHEST)
    return {
        "pixel_statistics": jnp.stack([mean, variance, *moments, *extremes]),
        "color_covariance": products / (flat.shape[1] - 1),
    }


def _transformed_statistics(
    centered: Channels, rounding: Float[Array, "3"], num_shifts: int
) -> dict[str, Array]:
    _, height, width = centered.shape
    waves = shift_waves((height, width), (height, width), 0, num_shifts, centered.dtype)
    covariance = autocovariance_at(jnp.fft.rfft2(centered), waves)
    deviation = floored_deviation(at_center(covariance), rounding)
    skew, kurtosis = jax.vmap(shape_moments)(centered, deviation)
    return {
        "auto_correlation_transformed": shift_correlation(covariance, deviation),
        "skew_transformed": skew,
        "kurtosis_transformed": kurtosis,
    }


def _scale_statistics(
    levels: list[Complex[Array, "3 _ _"]],
    bands: dict[int, Array],
    masks: Masks,
    num_shifts: int,
    scales: tuple[Label, ...],
    variance: Float[Array, "3"],
    rounding: Float[Array, "3"],
) -> dict[str, Array]:
    """Compute the groups of the reconstructed images and of the bands."""
    _, height, width = levels[0].shape
    lowpasses, of_bands, pairs, reals = {}, {}, {}, {}
    for scale, (spectrum, level) in enumerate(zip(levels, masks.levels, strict=True)):
        if (LOWPASS if level.bands is None else scale) not in scales:
            continue
        _, rows, columns = spectrum.shape
        waves = shift_waves((rows, columns), (height, width), scale, num_shifts, variance.dtype)
        lowpass = spectrum * jnp.asarray(level.lowpass, spectrum.dtype)[None]
        lowpasses[scale] = jax.vmap(lowpass_moments, (0, None, 0, 0))(
            lowpass, waves, 16.0**scale * rounding, variance
        )
        if scale in bands:
            coarser = level.coarser_bands
            coarser = None if coarser is None else _channel_bands(spectrum, coarser)
            of_bands[scale], of_pairs = band_moments(bands[scale], coarser, waves)
            if of_pairs is not None:
                pairs[scale] = of_pairs
            reals[scale] = mean_products(bands[scale].real, bands[scale].real)
    num_bands = max((len(band) for band in bands.values()), default=len(rounding))
    band_rounding = jnp.repeat(rounding, num_bands // len(rounding))
    measured = combine_scales(lowpasses, of_bands, pairs, rounding, band_rounding)
    if reals:
        floors = jnp.stack([16.0**scale * band_rounding for scale in reals])
        products = jnp.stack([*reals.values()])
        deviation = floored_deviation(jnp.diagonal(products, axis1=1, axis2=2), floors)
        correlation = band_correlation(products, deviation, deviation)
        measured["cross_orientation_correlation_real"] = correlation
    return measured


def _coarsest_statistics(
    spectrum: Complex[Array, "3 height width"],
    bands: dict[int, Array],
    masks: ColorMasks,
    scales: tuple[Label, ...],
    rounding: Float[Array, "3"],
) -> dict[str, Array]:
    """Compute the groups of the lowpass residual and its shifted copies.

    Args:
        spectrum: The spectrum at the coarsest scale.
        bands: The bands of each scale.
        masks: The masks.
        scales: The labels of the statistics to compute.
        rounding: The rounding floor of the variance of each channel.
    """
    scale = len(masks.texture.levels) - 2
    if {scale, LOWPASS}.isdisjoint(scales):
        return {}
    shifted = jnp.asarray(masks.shifted_lowpass, spectrum.dtype)
    signals = jnp.fft.ifft2(spectrum[:, None] * shifted[None]).real
    signals = signals.reshape(-1, *signals.shape[2:])
    floor = 16.0**scale * rounding
    products = mean_products(signals, signals)
    deviation = floored_deviation(jnp.diagonal(products), jnp.repeat(floor, len(shifted)))
    measured = {}
    if LOWPASS in scales:
        correlation = band_correlation(products[None], deviation[None], deviation[None])[0]
        measured["cross_correlation_lowpass"] = correlation
    if scale in bands:
        real = bands[scale].real
        floors = jnp.repeat(floor, len(real) // len(floor))
        of_bands = floored_deviation(jnp.mean(real**2, (1, 2)), floors)
        correlation = band_correlation(
            mean_products(signals, real)[None], deviation[None], of_bands[None]
        )
        measured["cross_correlation_coarsest_scale_lowpass"] = correlation[0]
    return measured


def _channel_bands(spectrum: Complex[Array, "3 height width"], masks: Any) -> AnalyticBands:
    """Compute the bands of all channels, as one axis."""
    masks = jnp.asarray(masks, spectrum.dtype)
    bands = jax.vmap(lambda channel: analytic_bands(channel, masks))(spectrum)
    return bands.reshape(-1, *spectrum.shape[1:])


def quantile_directions() -> Float[np.ndarray, "direction 3"]:
    """Return unit vectors spread evenly over half of a sphere, on a spiral."""
    number = np.arange(NUM_DIRECTIONS)
    height = (number + 0.5) / NUM_DIRECTIONS
    angle, radius = np.pi * (1 + 5**0.5) * number, np.sqrt(1 - height**2)
    return np.stack([height, radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def color_quantiles(channels: Channels) -> Float[Array, "quantile direction"]:
    """Return the averages of the quantiles of the colors along the fixed directions."""
    directions = jnp.asarray(quantile_directions(), channels.dtype)
    flat = channels.reshape(len(channels), -1)
    along = jnp.matmul(directions, flat, precision=lax.Precision.HIGHEST)
    return mean_of_sorted_parts(along, NUM_QUANTILES).T
