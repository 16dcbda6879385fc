import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax.models import (
    _pooled_portilla_simoncelli,
    DenseWindows,
    grid_windows,
    log_polar_windows,
    PooledPortillaSimoncelli,
    PortillaSimoncelli,
    uniform_window,
)
from plenoptax.models._pooled_loss import natural_loss
from plenoptax.models._pooled_portilla_simoncelli_statistics import frame_image, level_weights


SIZE, SCALES, ORIENTATIONS, WIDTH = 32, 2, 2, 3


def asymmetric_windows(rng, count=5):
    """Smooth windows without a symmetry, which a shifted or mirrored window cannot imitate."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    windows = []
    for row, column in rng.uniform(6, 26, (count, 2)):
        y, x = rows - row, columns - column
        windows.append(np.exp(-0.02 * (y**2 + 0.5 * x**2 + 0.6 * x * y)) * (1 + np.tanh(0.3 * x)))
    return DenseWindows(np.stack(windows))


def measure(windows, image, **options):
    model = PooledPortillaSimoncelli(windows, SCALES, ORIENTATIONS, WIDTH, **options)
    return model, np.asarray(jax.jit(model.__call__)(image))


@pytest.mark.parametrize(("correlation", "scales"), [("product", 2), ("root", 2), ("product", 1)])
def test_one_uniform_window_equals_the_statistics_of_the_image(correlation, scales, x64):
    image = plx.data.camera()[:, 60:124, 80:144].astype(jnp.float64)
    model = PooledPortillaSimoncelli(
        uniform_window((64, 64)), scales, 3, 5, correlation=correlation, boundary="circular"
    )
    whole = PortillaSimoncelli((64, 64), scales, 3, 5)
    found = np.asarray(jax.jit(model.__call__)(image))[0, 0]
    wanted = np.delete(np.asarray(whole(image))[0], [4, 5])
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    assert model.statistic_groups == tuple(np.delete(whole.statistic_groups, [4, 5]))
    assert model.statistic_scales == tuple(
        label for i, label in enumerate(whole.statistic_scales) if i not in (4, 5)
    )


class Direct:
    """The statistics of a window by sums over its samples, from maps computed with NumPy."""

    def __init__(self, image, weights, model):
        self.weights, self.model, self.frame = weights, model, model.frame
        offset, height, width = self.frame.offset, *self.frame.padded_shape
        after = [(offset, size - SIZE - offset) for size in (height, width)]
        self.spectrum = np.fft.fft2(np.pad(image, after, "symmetric"))
        self.image = image

    def maps(self, scale, mask):
        """Filtered images at the samples of a scale, on the whole larger image."""
        step = 2**scale
        shape = [size // step for size in self.frame.padded_shape]
        taken = np.ix_(*(np.fft.fftfreq(n, 1 / n).astype(int) for n in shape))
        return np.fft.ifft2(self.spectrum[taken] * mask)

    def window(self, scale):
        """The weights at the samples of a scale, by linear interpolation, in the larger image."""
        step, found = 2**scale, np.zeros([n // 2**scale for n in self.frame.padded_shape])
        for (row, column), weight in np.ndenumerate(self.weights):
            y, x = ((place + self.frame.offset) / step for place in (row, column))
            for i, j in np.ndindex(2, 2):
                share = abs(1 - i - y % 1) * abs(1 - j - x % 1)
                if share:
                    found[int(y) + i, int(x) + j] += share * weight
        return found / found.sum()

    def inside(self, scale, maps):
        start = self.frame.offset // 2**scale
        rows, columns = self.frame.level_shape(scale)
        return maps[start : start + rows, start : start + columns]

    def deviation(self, scale, maps, is_centered=True):
        window = self.window(scale)
        mean = (window * maps).sum() if is_centered else 0.0
        floor = 1e-3 * (self.inside(scale, maps) ** 2).mean()
        return np.sqrt(max((window * (maps - mean) ** 2).sum(), floor)), mean

    def autocorrelation(self, scale, maps):
        window, (deviation, mean) = self.window(scale), self.deviation(scale, maps)
        found = np.full((WIDTH, WIDTH), np.nan)
        for row, column in np.ndindex(WIDTH, WIDTH):
            # Opposite shifts differ in one window; that with a positive row is measured.
            sign = -1 if row < WIDTH // 2 else 1
            back = (sign * (WIDTH // 2 - row), sign * (WIDTH // 2 - column))
            moved = np.roll(maps, back, (0, 1))
            if self.model.correlation == "root":
                other = np.roll(window, back, (0, 1))
                product = np.sqrt(window * other) * (maps - mean) * (moved - mean)
            else:
                product = window * (maps - mean) * (moved - mean)
            found[row, column] = product.sum() / deviation**2
        return found

    def correlation(self, scale, first, second, is_centered=True):
        window = self.window(scale)
        a, b = (self.deviation(scale, one, is_centered) for one in (first, second))
        return (window * (first - a[1]) * (second - b[1])).sum() / (a[0] * b[0])

    def measure(self):
        weights, image = self.weights, self.image
        mean = (weights * image).sum()
        second, third, fourth = ((weights * (image - mean) ** k).sum() for k in (2, 3, 4))
        variance = second / (1 - (weights**2).sum())
        pixels = [mean, variance, third / variance**1.5, fourth / variance**2]
        masks = self.model.masks
        high = self.maps(0, np.sqrt(np.asarray(masks.highpass))).real
        found = {"pixel_statistics": pixels}
        parts = [self.lowpass(scale, level) for scale, level in enumerate(masks.levels)]
        parts += [self.bands(scale, level) for scale, level in enumerate(masks.levels[:-1])]
        for part in parts:
            for name, value in part.items():
                found.setdefault(name, []).append(value)
        found["var_highpass_residual"] = [(self.window(0) * high**2).sum()]
        return {name: np.moveaxis(np.asarray(value), 0, -1) for name, value in found.items()}

    def lowpass(self, scale, level):
        low = self.maps(scale, np.asarray(level.lowpass)).real
        deviation, mean = self.deviation(scale, low)
        third, fourth = (
            (self.window(scale) * (low - mean) ** k).sum() / deviation**k for k in (3, 4)
        )
        return {
            "skew_reconstructed": third,
            "kurtosis_reconstructed": fourth,
            "auto_correlation_reconstructed": self.autocorrelation(scale, low),
            "std_reconstructed": deviation,
        }

    def bands(self, scale, level):
        phase = (-1j) ** (ORIENTATIONS - 1)
        bands = [self.maps(scale, phase * np.asarray(mask)) for mask in level.bands]
        sizes = [abs(band) - abs(band).mean() for band in bands]
        autocorrelations = [self.autocorrelation(scale, size) for size in sizes]
        found = {
            "auto_correlation_magnitude": np.stack(autocorrelations, -1),
            "cross_orientation_correlation_magnitude": np.array(
                [[self.correlation(scale, a, b) for b in sizes] for a in sizes]
            ),
            "magnitude_std": [self.deviation(scale, size)[0] for size in sizes],
        }
        if level.coarser_bands is None:
            return found
        coarser = [self.maps(scale, phase * np.asarray(mask)) for mask in level.coarser_bands]
        others = [abs(band) - self.inside(scale, abs(band)).mean() for band in coarser]
        doubled = [band**2 / abs(band) for band in coarser]
        doubled = [band.real for band in doubled] + [band.imag for band in doubled]
        return found | {
            "cross_scale_correlation_magnitude": np.array(
                [[self.correlation(scale, a, b) for b in others] for a in sizes]
            ),
            "cross_scale_correlation_real": np.array(
                [[self.correlation(scale, a.real, b, False) for b in doubled] for a in bands]
            ),
        }


@pytest.mark.parametrize("correlation", ["product", "root"])
def test_statistics_of_asymmetric_windows_equal_direct_sums(correlation, rng, x64):
    image = jnp.asarray(rng.random((1, SIZE, SIZE)))
    windows = asymmetric_windows(rng)
    model, found = measure(windows, image, correlation=correlation)
    assert model.is_measured.all()
    groups = model._groups()
    for index, weights in enumerate(np.asarray(windows.weights)):
        measured = Direct(np.asarray(image[0]), weights, model).measure()
        wanted = np.concatenate([measured[name][group.kept] for name, group in groups.items()])
        np.testing.assert_allclose(found[0, index], wanted, rtol=1e-8, atol=1e-10)


def test_swapped_windows_swap_their_statistics(rng):
    image = jnp.asarray(rng.random((1, SIZE, SIZE)), jnp.float32)
    weights = np.asarray(asymmetric_windows(rng).weights)
    _, found = measure(DenseWindows(weights), image)
    _, swapped = measure(DenseWindows(weights[[1, 0, 2, 3, 4]]), image)
    np.testing.assert_allclose(swapped[:, [1, 0, 2, 3, 4]], found, rtol=1e-4, atol=1e-5)
    assert abs(found[0, 0] - found[0, 1]).max() > 0.1


def test_image_and_windows_moved_together_leave_the_statistics(rng, x64):
    image = jnp.asarray(rng.random((1, SIZE, SIZE)))
    weights = np.asarray(asymmetric_windows(rng).weights)
    # Windows that reach the border of the image are cut there, and not moved around it.
    weights = weights * (np.hypot(*(np.mgrid[:SIZE, :SIZE] - 15.5)) < 9)
    shift = (2**SCALES, -(2**SCALES))
    _, found = measure(DenseWindows(weights), image, boundary="circular")
    _, moved = measure(
        DenseWindows(np.roll(weights, shift, (1, 2))),
        jnp.roll(image, shift, (1, 2)),
        boundary="circular",
    )
    np.testing.assert_allclose(moved, found, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("shape", [(64, 64), (53, 70)])
def test_windows_of_all_scales_are_at_the_same_place(shape):
    windows = log_polar_windows(shape, 1.0, 8, 30, center=(20, 31.5))
    weights = np.asarray(windows.weigh_pixels(np.arange(windows.num_windows)), np.float64)
    frame = frame_image(shape, 3, 7, is_circular=False)
    places = []
    for scale in range(4):
        level = level_weights(weights, frame, scale)
        np.testing.assert_allclose(level.sum((1, 2)), 1)
        rows, columns = 2**scale * np.indices(level.shape[1:])
        places.append([(level * one).sum((1, 2)) for one in (rows, columns)])
    assert np.abs(np.asarray(places) - places[0]).max() < 0.1


def test_a_border_hardly_changes_windows_of_the_opposite_one():
    """Filters have no bounded support, so far windows change by a small part of the near ones."""
    image = plx.data.camera()[:, 100:164, 60:188]
    other = image.at[..., :16].set(plx.data.brick()[:, :64, :16])
    columns = np.arange(128)
    far, near = ((abs(columns - place) < 12) * np.ones((64, 1)) for place in (115, 12))
    change = {}
    for boundary in ("symmetric", "circular"):
        model = PooledPortillaSimoncelli(
            DenseWindows(np.stack([far, near])), 3, 2, 3, boundary=boundary
        )
        before, after = (np.asarray(jax.jit(model.__call__)(one))[0] for one in (image, other))
        groups = np.array(model.statistic_groups)
        change[boundary] = np.max(
            [
                np.linalg.norm((after - before)[:, groups == name], axis=1)
                / np.linalg.norm(before[:, groups == name], axis=1)
                for name in dict.fromkeys(groups)
            ],
            axis=0,
        )
    assert change["symmetric"][0] < 0.02
    # Circular, the two borders are neighbors.
    assert change["circular"][0] > 0.2
    assert change["symmetric"][1] > 0.5


def test_small_windows_have_fewer_scales_and_shifts():
    windows = grid_windows((64, 64), (16, 16))
    with pytest.warns(UserWarning, match="independent statistics"):
        model = PooledPortillaSimoncelli(windows, 3, 2, 5)
    middle = windows.num_windows // 2
    is_measured = np.asarray(model.is_measured[middle]) == 1
    scales = np.array(model.statistic_scales, object)
    groups = np.array(model.statistic_groups)
    # A window of 16 pixels averages 24 x 24 pixels, 3 x 3 samples at scale 3.
    assert is_measured[scales == 0].all()
    is_low = scales == "residual_lowpass"
    low = is_measured[is_low & (groups == "auto_correlation_reconstructed")]
    assert low.sum() == 4
    assert len(low) == 12
    found = jax.jit(model.__call__)(plx.data.camera()[:, :64, :64])
    assert (np.asarray(found[0, middle])[~is_measured] == 0).all()


def test_windows_that_the_border_cuts_have_the_statistics_of_what_is_inside():
    windows = log_polar_windows((96, 96), 1.5, 24, 96, center=(10, 60), profile="raised_cosine")
    model = PooledPortillaSimoncelli(windows, 2, 2, 5)
    scales = np.array([str(one) for one in model.statistic_scales])
    has_scale = np.asarray(model.is_measured)[:, scales == "1"].any(1)
    np.testing.assert_array_equal(has_scale, windows.effective_pixels / 4 >= 4)
    # In one of them many pixels inside have almost equal weights.
    weights = np.asarray(windows.weigh_pixels(np.arange(windows.num_windows)))
    assert ((1 / (weights**2).sum((1, 2)) > 16) & ~has_scale).any()


def test_the_default_loss_whitens_each_window():
    windows = log_polar_windows((64, 64), 2.0, 12, 64, profile="raised_cosine")
    model = PooledPortillaSimoncelli(windows, 2, 2, 3)
    image = plx.data.brick()[:, :64, :64]
    whitened = model.default_loss(image)
    assert whitened.whitening.shape == (1, windows.num_windows, *2 * (len(model.statistic_groups),))
    plain = natural_loss(model, windows, image, model.statistic_groups)
    start = jnp.clip(image.mean() + 0.1 * jax.random.normal(jax.random.key(0), image.shape), 0, 1)
    options = {"initial_image": start, "max_steps": 100, "progress": False}
    found, other = (plx.metamer(image, model, loss, **options) for loss in (whitened, plain))
    target = model(image)
    assert plain(model(found.image), target) < 0.6 * plain(model(other.image), target)


def test_many_windows_are_not_whitened(monkeypatch):
    monkeypatch.setattr(_pooled_portilla_simoncelli, "_LARGEST_WHITENING", 100)
    model = PooledPortillaSimoncelli(uniform_window((32, 32)), 2, 2, 3)
    assert isinstance(model.default_loss(plx.data.brick()[:, :32, :32]), plx.loss.ZScored)


def test_pixels_outside_of_a_hard_window_hardly_matter():
    """Pixel statistics do not see them; filters reach as far as they are wide."""
    window = np.zeros((1, 128, 128))
    window[0, 48:80, 48:80] = 1
    model = PooledPortillaSimoncelli(DenseWindows(window), 2, 4, 3)
    image = plx.data.camera()[:, 60:188, 60:188]
    groups = np.array(model.statistic_groups)
    scales = np.array([str(one) for one in model.statistic_scales])

    @jax.jit
    def sensitivity(weights):
        """How much each pixel changes a sum of statistics."""
        return jax.grad(lambda image: (model(image)[0, 0] * weights).sum())(image)[0]

    def largest(weights, distance):
        """The largest gradient outside, so many pixels away, relative to the largest of all."""
        gradient = np.abs(sensitivity(jnp.asarray(weights, jnp.float32)))
        near = np.zeros((128, 128), bool)
        near[48 - distance : 80 + distance, 48 - distance : 80 + distance] = True
        return gradient[~near].max() / gradient.max()

    for index in np.flatnonzero(groups == "pixel_statistics"):
        assert largest(np.arange(len(groups)) == index, 0) == 0
    for scale, distance in (("0", 16), ("1", 36)):
        for index in np.flatnonzero(scales == scale)[::7]:
            weights = np.arange(len(groups)) == index
            assert largest(weights, 0) > 1e-2
            assert largest(weights, distance) < 1e-2


@pytest.mark.parametrize("fill", [0.0, 0.5])
def test_constant_images_have_finite_statistics_and_gradients(fill):
    model = PooledPortillaSimoncelli(grid_windows((32, 32), (24, 24)), 2, 2, 3)
    image = jnp.full((1, 32, 32), fill).at[0, :8, :8].set(fill + 0.2)
    for one in (jnp.full((1, 32, 32), fill), image):
        value, gradient = jax.jit(jax.value_and_grad(lambda x: (model(x) ** 2).sum()))(one)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_a_step_has_few_equations():
    """It does not compile within seconds otherwise."""
    model = PooledPortillaSimoncelli(grid_windows((128, 128), (100, 100)))
    image = jnp.zeros((1, 128, 128))
    jaxpr = jax.make_jaxpr(jax.value_and_grad(lambda x: (model(x) ** 2).sum()))(image)
    assert count_equations(jaxpr.jaxpr) < 3000


def count_equations(jaxpr):
    inner = [
        getattr(part, "jaxpr", part)
        for equation in jaxpr.eqns
        for value in equation.params.values()
        for part in (value if isinstance(value, list | tuple) else [value])
        if hasattr(part, "eqns") or hasattr(part, "jaxpr")
    ]
    return len(jaxpr.eqns) + sum(map(count_equations, inner))


def test_effective_windows_are_fewer_than_windows_that_overlap():
    weights = np.random.default_rng(0).random((3, 8, 8))
    assert DenseWindows(weights).count_effective() == 3
    doubled = DenseWindows(np.concatenate([weights, weights[:2], 7 * weights[1:]]))
    assert doubled.count_effective() == 3
    line = np.exp(-0.5 * ((np.arange(64) - np.arange(0, 64, 2)[:, None]) / 8) ** 2)
    expected = np.linalg.svd(line / np.linalg.norm(line, axis=1)[:, None], compute_uv=False)
    found = DenseWindows(line[:, None]).count_effective()
    assert abs(found - (expected > 1e-2 * expected.max()).sum()) <= 1
    assert found < 20


def test_many_statistics_warn():
    with pytest.warns(UserWarning, match="independent statistics for 1024 pixels"):
        PooledPortillaSimoncelli(grid_windows((32, 32), (12, 12)), 2, 4, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PooledPortillaSimoncelli(uniform_window((32, 32)), 2, 4, 5)


def test_the_model_refuses(unchecked):
    windows = uniform_window((32, 32))
    with pytest.raises(ValueError, match="correlation must be 'product' or 'root', got 'sum'"):
        PooledPortillaSimoncelli(windows, 2, correlation="sum")
    with pytest.raises(ValueError, match="boundary must be 'symmetric' or"):
        PooledPortillaSimoncelli(windows, 2, boundary="zero")
    with pytest.raises(ValueError, match="For 4 scales an image must have at least 64 pixels"):
        PooledPortillaSimoncelli(windows)
    model = PooledPortillaSimoncelli(windows, 2, 2, 3)
    with pytest.raises(ValueError, match=r"32 x 32 pixels as the windows .* \(1, 16, 16\)"):
        model(jnp.ones((1, 16, 16)))
