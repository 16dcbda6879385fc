"""The statistics against a second implementation: NumPy, centered spectra, a whole pyramid."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from plenoptax.models import PortillaSimoncelli


def grid(shape):
    y, x = (np.arange(-(size // 2), size - size // 2) * 2 / size for size in shape)
    return np.hypot(y[:, None], x[None]), np.arctan2(y[:, None], x[None])


def radial(radius, octave):
    """Lowpass and highpass amplitude around half an octave below ``2**-octave``."""
    radius = np.where(radius == 0, 1e-9, radius)
    position = np.clip(np.log2(radius) + octave, -1, 0)
    return np.abs(np.sin(np.pi / 2 * position)), np.cos(np.pi / 2 * position)


def angular(angle, orientations):
    order = orientations - 1
    squares = sum(
        np.cos(angle - np.pi * index / orientations) ** (2 * order) for index in range(orientations)
    )
    return [
        np.cos(angle - np.pi * index / orientations) ** order / np.sqrt(squares)
        for index in range(orientations)
    ]


def transform(image):
    return np.fft.fftshift(np.fft.fft2(image, axes=(-2, -1)), (-2, -1))


def inverse(spectrum):
    return np.fft.ifft2(np.fft.ifftshift(spectrum, (-2, -1)), axes=(-2, -1))


def center(spectrum, shape):
    start = [full // 2 - size // 2 for full, size in zip(spectrum.shape[-2:], shape, strict=True)]
    rows, columns = (slice(a, a + size) for a, size in zip(start, shape, strict=True))
    return spectrum[..., rows, columns]


def pad(spectrum, shape):
    result = np.zeros((*spectrum.shape[:-2], *shape), complex)
    center(result, spectrum.shape[-2:])[...] = spectrum
    return result


def pyramid(image, scales, orientations):
    """The highpass image, the complex bands of each scale, and the reconstruction from each on."""
    lowpass_mask, highpass_mask = radial(grid(image.shape)[0], 0)
    highpass = inverse(transform(image) * highpass_mask).real
    spectrum, bands, masks = transform(image) * lowpass_mask, [], [lowpass_mask]
    steering = []
    for _ in range(scales):
        radius, angle = grid(spectrum.shape)
        # A level holds the frequencies up to its own Nyquist frequency: one octave at every scale.
        masks_of_scale = [radial(radius, 1)[1] * mask for mask in angular(angle, orientations)]
        factors = [
            2 * np.where(np.cos(angle - np.pi * index / orientations) > 0, mask, 0)
            for index, mask in enumerate(masks_of_scale)
        ]
        phase = (-1j) ** (orientations - 1)
        bands.append(inverse(phase * spectrum * np.array(factors)))
        steering.append(np.conj(phase) * np.array(masks_of_scale))
        shape = tuple(size // 2 for size in spectrum.shape)
        masks.append(center(radial(radius, 1)[0], shape))
        spectrum = center(spectrum, shape) * masks[-1]
    middle = tuple(size // 2 for size in spectrum.shape)
    spectrum[middle] = 0
    images = []
    for first in range(scales, -1, -1):
        total = spectrum * masks[scales]
        for scale in range(scales - 1, -1, -1):
            total = pad(total, bands[scale].shape[1:])
            if scale >= first:
                total = total + np.sum(transform(bands[scale]) * steering[scale], 0)
            total = total * masks[scale]
        # The real part supplies the other half of the frequency plane.
        full = transform(inverse(total).real)
        shape = tuple(size // 2**first for size in image.shape)
        images.append(inverse(center(full, shape)).real)
    return highpass, bands, images[::-1]


def autocorrelation(image, width):
    shifts = range(-(width // 2), width - width // 2)
    products = [[np.mean(image * np.roll(image, (y, x), (0, 1))) for x in shifts] for y in shifts]
    return np.array(products) / np.mean(image**2)


def doubled(band, shape):
    band = inverse(pad(transform(band), shape))
    return np.abs(band) * np.exp(2j * np.angle(band))


def uncentered_correlation(first, second):
    first, second = (x.reshape(len(x), -1) for x in (first, second))
    norms = [np.linalg.norm(x, axis=1) for x in (first, second)]
    return first @ second.T / np.outer(*norms)


def corrcoef(first, second):
    first, second = (x.reshape(len(x), -1) for x in (first, second))
    return np.corrcoef(first, second)[: len(first), len(first) :]


def last(arrays):
    return np.moveaxis(np.array(arrays), 0, -1)


def second_implementation(image, scales, orientations, width):
    highpass, bands, images = pyramid(image, scales, orientations)
    magnitudes = [np.abs(band) - np.abs(band).mean((1, 2), keepdims=True) for band in bands]
    coarser = [
        np.array([doubled(one, fine.shape[1:]) for one in coarse])
        for fine, coarse in zip(bands[:-1], bands[1:], strict=True)
    ]
    variance = image.var(ddof=1)
    standard = (image - image.mean()) / np.sqrt(variance)
    moments = [np.mean(standard**3), np.mean(standard**4)]
    pairs = list(zip(bands[:-1], coarser, strict=True))
    return {
        "pixel_statistics": [image.mean(), variance, *moments, image.min(), image.max()],
        "auto_correlation_magnitude": last(
            [last([autocorrelation(one, width) for one in band]) for band in magnitudes]
        ),
        "skew_reconstructed": [scipy.stats.skew(x.ravel()) for x in images],
        "kurtosis_reconstructed": [scipy.stats.kurtosis(x.ravel()) + 3 for x in images],
        "auto_correlation_reconstructed": last([autocorrelation(x, width) for x in images]),
        "std_reconstructed": [x.std() for x in images],
        "cross_orientation_correlation_magnitude": last([corrcoef(m, m) for m in magnitudes]),
        "magnitude_std": last([m.std((1, 2)) for m in magnitudes]),
        "cross_scale_correlation_magnitude": last(
            [corrcoef(np.abs(fine), np.abs(coarse)) for fine, coarse in pairs]
        ),
        "cross_scale_correlation_real": last(
            [
                uncentered_correlation(fine.real, np.concatenate([coarse.real, coarse.imag]))
                for fine, coarse in pairs
            ]
        ),
        "var_highpass_residual": [np.mean(highpass**2)],
    }


def removed_by_symmetry(name, index, width):
    """What a removed entry should be equal to: the index of another, or 1."""
    if name.startswith("auto_correlation"):
        opposite = tuple(2 * (width // 2) - i for i in index[:2])
        return 1 if opposite == index[:2] else (*opposite, *index[2:])
    return 1 if index[0] == index[1] else (index[1], index[0], *index[2:])


@pytest.mark.parametrize(
    ("shape", "arguments"), [((64, 48), (3, 4, 5)), ((32, 40), (2, 3, 6)), ((24, 16), (2, 2, 4))]
)
def test_portilla_simoncelli_equals_a_second_implementation(x64, rng, shape, arguments):
    image = rng.random(shape) ** 2 + np.linspace(0, 1, shape[1])
    expected = second_implementation(image, *arguments)
    model = PortillaSimoncelli(shape, *arguments)
    measured = model.convert_to_dict(model(jnp.asarray(image)[None])[0])
    assert list(measured) == list(expected)
    for name, values in measured.items():
        values, wanted = np.asarray(values), np.asarray(expected[name])
        assert values.shape == wanted.shape
        kept = ~np.isnan(values)
        np.testing.assert_allclose(values[kept], wanted[kept], rtol=1e-10, atol=1e-10, err_msg=name)
        for index in map(tuple, np.argwhere(~kept)):
            other = removed_by_symmetry(name, index, arguments[2])
            value = 1 if other == 1 else values[other]
            np.testing.assert_allclose(wanted[index], value, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("phase", [0, 0.4, np.pi / 2, np.pi])
def test_cross_scale_correlation_real_tells_the_relative_phase(phase, x64):
    x = 2 * np.pi * np.arange(64) / 64
    image = 0.5 + 0.2 * np.sin(8 * x) + 0.1 * np.sin(16 * x + phase)
    image = jnp.asarray(np.tile(image, (64, 1))[None], jnp.float64)
    model = PortillaSimoncelli((64, 64), n_scales=2)
    correlation = model.convert_to_dict(model(image))["cross_scale_correlation_real"][0, :, :, 0]
    # The wave of 8 cycles at twice its phase is one of 16 cycles, and both point along x.
    # In float32 the sums over all pixels leave 1e-5, more or less by the processor.
    np.testing.assert_allclose(correlation[0, 0], np.cos(phase), atol=1e-10)
    np.testing.assert_allclose(correlation[0, 4], -np.sin(phase), atol=1e-10)


def test_statistics_do_not_change_with_circular_shifts(x64, rng):
    image = jnp.asarray(rng.random((1, 40, 56)))
    model = PortillaSimoncelli((40, 56), 3, 2, 4)
    for shift in ((8, 0), (-16, 24)):
        shifted = jnp.roll(image, shift, (-2, -1))
        np.testing.assert_allclose(model(shifted), model(image), rtol=1e-10, atol=1e-11)
    assert abs(model(jnp.roll(image, 1, -1)) - model(image)).max() > 1e-4
