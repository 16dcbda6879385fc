"""The color texture statistics in NumPy and float64, at full resolution and with whole filters."""

import math

import numpy as np


def mean(values):
    return values.mean((-2, -1))


def filters(shape, scale, num_orientations):
    """The lowpass of the frequencies below a scale, and its analytic bands."""
    y, x = np.meshgrid(*(2 * np.fft.fftfreq(size) for size in shape), indexing="ij")
    with np.errstate(divide="ignore"):
        octaves = -np.log2(np.hypot(y, x))

    def low(scale):
        return np.sin(np.pi / 2 * np.clip(octaves - scale, 0, 1))

    order = num_orientations - 1
    cosines = [
        np.cos(np.arctan2(y, x) - np.pi * index / num_orientations)
        for index in range(num_orientations)
    ]
    power = sum(cosine ** (2 * order) for cosine in cosines)
    ring = low(scale) * np.sqrt(1 - low(scale + 1) ** 2) / np.sqrt(power)
    bands = [(-1j) ** order * 2 * ring * np.maximum(cosine, 0) ** order for cosine in cosines]
    return low(scale), np.array(bands)


def apply(mask, channels, scale, step):
    """Filter all channels, and sample every few pixels; amplitudes grow fourfold with the scale."""
    filtered = np.fft.ifft2(
        mask * np.fft.fft2(channels)[:, None] if mask.ndim == 3 else mask * np.fft.fft2(channels)
    )
    return 4.0**scale * filtered[..., ::step, ::step]


def shifts(width):
    half = width // 2
    return range(-half, width - half)


def autocorrelation(values, width):
    """The correlation with shifted copies, on two last axes."""
    values = values - mean(values)[..., None, None]
    products = [
        [mean(values * np.roll(values, (-row, -column), (-2, -1))) for column in shifts(width)]
        for row in shifts(width)
    ]
    return np.moveaxis(np.array(products), (0, 1), (-2, -1)) / mean(values**2)[..., None, None]


def moments(values):
    centered = values - mean(values)[..., None, None]
    variance = mean(centered**2)
    return mean(centered**3) / variance**1.5, mean(centered**4) / variance**2


def correlate(first, second, is_centered=False):
    """Correlations of all maps of one array with all of another."""
    first, second = (maps.reshape(-1, maps.shape[-2] * maps.shape[-1]) for maps in (first, second))
    if is_centered:
        first, second = (maps - maps.mean(1, keepdims=True) for maps in (first, second))
    norms = np.outer(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    return first @ second.T / norms


def double_phase(bands):
    return np.abs(bands) * np.exp(2j * np.angle(bands))


def directions():
    """Sixteen directions on a spiral over half of a sphere."""
    found = []
    for number in range(16):
        height, angle = (2 * number + 1) / 32, number * 2 * np.pi * (1 + math.sqrt(5)) / 2
        radius = math.sqrt(1 - height**2)
        found.append([height, radius * math.cos(angle), radius * math.sin(angle)])
    return np.array(found)


def quantiles(channels):
    sorted_colors = np.sort(directions() @ channels.reshape(3, -1), axis=1)
    return np.repeat(sorted_colors, 32, axis=1).reshape(16, 32, -1).mean(2)


def measure(image, matrix, num_scales, num_orientations, width):
    """The groups by name, whole: entries equal to others are not left out."""
    channels = np.tensordot(matrix, image, 1)
    shape = image.shape[1:]
    skew, kurtosis = moments(image)
    variance = image.var((1, 2), ddof=1)
    # Skew and kurtosis of the pixels are normalized by the variance of n - 1.
    bias = 1 - 1 / image[0].size
    pixels = [
        mean(image),
        variance,
        skew * bias**1.5,
        kurtosis * bias**2,
        image.min((1, 2)),
        image.max((1, 2)),
    ]
    stacks = {}
    for scale in range(num_scales + 1):
        step = 2**scale
        low, band_masks = filters(shape, scale, num_orientations)
        without_mean = low**2
        without_mean[0, 0] = 0
        lowpass = apply(without_mean, channels, scale, step).real
        found = {
            "auto_correlation_reconstructed": autocorrelation(lowpass, width),
            "std_reconstructed": lowpass.std((1, 2)),
            "skew_reconstructed": moments(lowpass)[0],
            "kurtosis_reconstructed": moments(lowpass)[1],
        }
        if scale < num_scales:
            bands = apply(band_masks, channels, scale, step)
            magnitude = np.abs(bands)
            found["auto_correlation_magnitude"] = np.moveaxis(
                autocorrelation(magnitude, width), 1, -1
            )
            found["magnitude_std"] = magnitude.std((2, 3))
            found["cross_orientation_correlation_magnitude"] = correlate(magnitude, magnitude, True)
            found["cross_orientation_correlation_real"] = correlate(bands.real, bands.real)
        if scale < num_scales - 1:
            _, coarser_masks = filters(shape, scale + 1, num_orientations)
            coarser = apply(coarser_masks, channels, scale, step)
            doubled = double_phase(coarser).reshape(-1, *coarser.shape[2:])
            found["cross_scale_correlation_magnitude"] = correlate(magnitude, abs(coarser), True)
            found["cross_scale_correlation_real"] = correlate(
                bands.real, np.concatenate([doubled.real, doubled.imag])
            )
        for name, values in found.items():
            stacks.setdefault(name, []).append(values)
    residual, _ = filters(shape, num_scales, num_orientations)
    residual[0, 0] = 0
    lowpass = np.fft.ifft2(residual * np.fft.fft2(channels)).real
    far, step = 2**num_scales, 2 ** (num_scales - 1)
    places = [(0, 0), (-far, 0), (far, 0), (0, -far), (0, far)]
    signals = np.stack([np.roll(lowpass, place, (1, 2)) for place in places], axis=1)
    signals = signals[..., ::step, ::step]
    high, _ = filters(shape, 0, num_orientations)
    highpass = np.fft.ifft2(np.sqrt(1 - high**2) * np.fft.fft2(channels))
    return {
        **{name: np.stack(values, axis=-1) for name, values in stacks.items()},
        "pixel_statistics": np.stack(pixels, axis=1),
        "var_highpass_residual": mean(np.abs(highpass) ** 2)[:, None],
        "color_covariance": np.cov(image.reshape(3, -1)),
        "auto_correlation_transformed": autocorrelation(channels, width)[..., None],
        "skew_transformed": moments(channels)[0][:, None],
        "kurtosis_transformed": moments(channels)[1][:, None],
        "cross_correlation_lowpass": correlate(signals, signals),
        "cross_correlation_coarsest_scale_lowpass": correlate(
            apply(filters(shape, num_scales - 1, num_orientations)[1], channels, 0, step).real,
            signals,
        ),
        "color_quantiles": quantiles(channels),
    }
