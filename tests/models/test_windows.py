import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax.models import (
    DenseWindows,
    grid_windows,
    log_polar_windows,
    PooledEnergy,
    PooledLuminance,
    uniform_window,
)


def as_images(windows, indices):
    """The weight of each pixel in some windows."""
    blank = jnp.zeros(windows.image_shape, windows.mass.dtype)
    _, pull_back = jax.vjp(windows, blank)
    rows = jnp.eye(windows.num_windows, dtype=blank.dtype)[jnp.asarray(indices)]
    return np.asarray(jax.vmap(lambda row: pull_back(row)[0])(rows))


def polar(shape, center):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    y, x = rows - center[0], columns - center[1]
    return np.hypot(y, x), np.arctan2(y, x)


def place_of(windows, index):
    """The eccentricity and the direction of the center of a window."""
    layout = windows.layout
    ring, direction = divmod(int(windows.kept[index]), layout.num_directions)
    eccentricity = np.exp(layout.first + layout.spacing * ring)
    return eccentricity, 2 * np.pi / layout.num_directions * direction


@pytest.mark.parametrize("scaling", [0.25, 0.5, 1.9])
def test_the_width_of_realized_windows_over_their_eccentricity_is_the_scaling(scaling, x64):
    windows = log_polar_windows((256, 256), scaling, 20, 60, center=(128, 40))
    radius, angle = polar((256, 256), (128, 40))
    wanted = [
        i
        for i in range(windows.num_windows)
        if place_of(windows, i)[1] == 0 and 60 < place_of(windows, i)[0] < 90
    ]
    assert wanted
    for index, weights in zip(wanted, as_images(windows, wanted), strict=True):
        eccentricity, _ = place_of(windows, index)
        # Along the axis through the fixation and the center, relative to the exact Gaussian's peak.
        line = weights[128, 41:]
        above = np.arange(1, len(line) + 1)[line >= line.max() / 2]
        crossings = []
        for inside, outside in ((above[0], above[0] - 1), (above[-1], above[-1] + 1)):
            a, b = np.log(line[inside - 1]), np.log(line[outside - 1])
            share = (a - np.log(line.max() / 2)) / (a - b)
            crossings.append(inside + share * (outside - inside))
        assert (crossings[1] - crossings[0]) / eccentricity == pytest.approx(scaling, rel=0.005)


def test_windows_equal_the_gaussians_of_their_definition(rng, x64):
    windows = log_polar_windows((96, 128), 0.5, 10, 60, aspect=1.5, center=(30.5, 70))
    values = rng.random((96, 128))
    radius, angle = polar((96, 128), (30.5, 70))
    step = 2 * np.pi / windows.layout.num_directions
    assert step == pytest.approx(windows.layout.spacing / 1.5, rel=0.01)
    found = windows(jnp.asarray(values))
    for index in range(0, windows.num_windows, 37):
        eccentricity, direction = place_of(windows, index)
        turn = (angle - direction + np.pi) % (2 * np.pi) - np.pi
        depth = np.log(radius / eccentricity) / windows.layout.spacing
        weights = np.exp(-0.5 * (depth**2 + (turn / step) ** 2))
        assert found[index] == pytest.approx((weights * values).sum() / weights.sum(), rel=0.005)


def test_windows_sum_to_one_between_the_eccentricities(x64):
    windows = log_polar_windows((96, 96), 0.5, 12, 45)
    assert windows.num_dropped == 0
    weights = as_images(windows, range(windows.num_windows))
    total = np.tensordot(np.asarray(windows.mass), weights, 1)
    radius, _ = polar((96, 96), (47.5, 47.5))
    inside = (radius >= 12) & (radius <= 45)
    np.testing.assert_allclose(total[inside], 1, atol=0.002)
    # Cut by the border or not, each window averages.
    np.testing.assert_allclose(weights.sum((1, 2)), 1, rtol=1e-12)


def test_raised_cosines_sum_to_one_and_meet_at_half_of_their_maximum(x64):
    windows = log_polar_windows((128, 128), 0.5, 10, 50, center=(64, 62), profile="raised_cosine")
    weights = windows.mass[:, None, None] * windows.weigh_pixels(np.arange(windows.num_windows))
    radius, angle = polar((128, 128), (64, 62))
    inside = (radius >= 10) & (radius <= 50)
    np.testing.assert_allclose(np.asarray(weights.sum(0))[inside], 1, atol=1e-6)
    step = 2 * np.pi / windows.layout.num_directions
    assert windows.layout.spacing == pytest.approx(2 * np.arcsinh(0.25))
    assert step == pytest.approx(windows.layout.spacing / 2, rel=0.05)
    for index in range(0, windows.num_windows, 7):
        eccentricity, direction = place_of(windows, index)
        distance = np.log((radius + 1e-9) / eccentricity) / windows.layout.spacing
        turn = ((angle - direction + np.pi) % (2 * np.pi) - np.pi) / step
        along, across = (
            np.where(
                abs(x) < 0.25, 1, np.where(abs(x) > 0.75, 0, np.cos(np.pi * (abs(x) - 0.25)) ** 2)
            )
            for x in (distance, turn)
        )
        # Linear interpolation between 24 points errs by up to (2 pi**2) / 8 / 24**2 on each axis.
        np.testing.assert_allclose(weights[index], along * across, atol=0.01)


def test_windows_of_few_pixels_are_left_out_and_counted():
    windows = log_polar_windows((64, 64), 0.25, 2, 30)
    layout = windows.layout
    assert windows.num_dropped > 0
    total = layout.num_rings * layout.num_directions
    assert windows.num_windows + windows.num_dropped == total
    weights = as_images(windows, range(0, windows.num_windows, 11))
    # The exact number of the realized weights, which the fine grid estimates.
    effective = 1 / (weights**2).sum((1, 2))
    assert effective.min() > 3.8


def test_degrees_are_pixels_times_their_density():
    degrees = log_polar_windows((64, 64), 0.5, 0.5, 2, pixels_per_degree=16)
    assert degrees.layout == log_polar_windows((64, 64), 0.5, 8, 32).layout


@pytest.mark.parametrize("kind", ["log polar", "dense"])
@pytest.mark.parametrize("shape", [(64, 64), (63, 50)])
def test_windows_of_other_scales_are_at_the_same_place(kind, shape, x64):
    if kind == "dense":
        windows = grid_windows(shape, (17, 15))
        coarse = windows.resize((shape[0] // 2 + shape[0] % 2, shape[1] // 2))
        images = [np.asarray(one.weights) for one in (windows, coarse)]
    else:
        windows = log_polar_windows(shape, 1.0, 12, 20)
        coarse = windows.resize((shape[0] // 2 + shape[0] % 2, shape[1] // 2))
        images = [as_images(one, range(one.num_windows)) for one in (windows, coarse)]
    assert coarse.num_windows == windows.num_windows
    places = []
    for weights in images:
        axes = [
            np.arange(count) * size / count
            for count, size in zip(weights.shape[1:], shape, strict=True)
        ]
        rows, columns = np.meshgrid(*axes, indexing="ij")
        places.append([(weights * one).sum((1, 2)) for one in (rows, columns)])
    rows, columns = places[0]
    # Those that the border cuts do not fade out before it, so samples at the border count.
    whole = (rows > 16) & (rows < shape[0] - 16) & (columns > 16) & (columns < shape[1] - 16)
    # Windows of few samples are where these samples are.
    whole &= 1 / (images[1] ** 2).sum((1, 2)) > 16
    assert whole.sum() > 3
    difference = np.abs(np.asarray(places[0]) - places[1])[:, whole]
    assert difference.max() < 0.1


def test_dense_windows_equal_sums_by_hand(rng, x64):
    weights, maps = rng.random((5, 7, 9)), rng.random((2, 3, 7, 9))
    found = DenseWindows(weights)(jnp.asarray(maps))
    for i, window in enumerate(weights):
        for j, k in np.ndindex(2, 3):
            wanted = (window * maps[j, k]).sum() / window.sum()
            assert found[j, k, i] == pytest.approx(wanted, rel=1e-12)
    swapped = DenseWindows(weights[[1, 0, 2, 3, 4]])(jnp.asarray(maps))
    np.testing.assert_array_equal(swapped[..., :2], found[..., 1::-1])


def test_luminance_and_energy_in_a_uniform_window_are_those_of_the_image(rng, x64):
    image = jnp.asarray(rng.random((2, 48, 64)))
    windows = uniform_window((48, 64))
    luminance = image.mean((1, 2))
    np.testing.assert_allclose(PooledLuminance(windows)(image)[:, 0], luminance, rtol=1e-12)
    model = PooledEnergy(windows, 2, 3)
    found = model(image)
    assert found.shape == (2, 1, len(model.statistic_groups))
    np.testing.assert_allclose(found[:, 0, 0], luminance, rtol=1e-12)
    bands = plx.process.SteerablePyramidFreq((48, 64), 2, 2, tight_frame=True)(image)
    for scale in (0, 1):
        wanted = (bands[scale] ** 2).sum((-2, -1)) / (48 * 64)
        np.testing.assert_allclose(found[:, 0, 1 + 3 * scale : 4 + 3 * scale], wanted, rtol=1e-6)
    # What is left are the residuals.
    rest = [
        (bands[name] ** 2).sum((1, 2)) / (48 * 64)
        for name in ("residual_highpass", "residual_lowpass")
    ]
    np.testing.assert_allclose(
        found[:, 0, 1:].sum(1) + sum(rest), (image**2).mean((1, 2)), rtol=1e-6
    )


def test_energy_of_windows_equals_direct_sums(rng, x64):
    """Windows without a symmetry, which a shifted or mirrored window cannot imitate."""
    image, weights = jnp.asarray(rng.random((1, 32, 32))), rng.random((5, 32, 32)) ** 8
    model = PooledEnergy(DenseWindows(weights), 1, 2)
    (band,) = plx.process.SteerablePyramidFreq((32, 32), 1, 1, is_complex=True, tight_frame=True)(
        image, 0
    )[0]
    found = model(image)[0]
    for i, window in enumerate(weights):
        for orientation in (0, 1):
            energy = np.abs(band[orientation]) ** 2
            wanted = (window * energy).sum() / window.sum()
            assert found[i, 1 + orientation] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("model", [PooledLuminance, PooledEnergy])
def test_pooled_models_are_synthesized(model):
    image = plx.data.camera()[:, 96:160, 96:160]
    windows = log_polar_windows((64, 64), 1.0, 8, 24)
    pooled = model(windows) if model is PooledLuminance else model(windows, 2, 2)
    result = plx.metamer(
        image, pooled, key=jax.random.key(0), optimizer=plx.lbfgs(), max_steps=150, progress=False
    )
    assert result.trace.losses[-1] < 0.05 * result.trace.losses[0]
    assert np.isfinite(jax.grad(lambda x: jnp.sum(pooled(x) ** 2))(jnp.zeros_like(image))).all()


def test_the_default_loss_is_in_units_of_the_spread_over_photographs():
    windows = DenseWindows(np.stack([np.ones((32, 32)), np.eye(32)]))
    model = PooledEnergy(windows, 2, 2)
    image = plx.data.camera()[:, :32, :32]
    others = [plx.data.get(name, as_gray=True)[:, :32, :32] for name in plx.data.PHOTOGRAPHS]
    variances = np.var([np.asarray(model(one)) for one in others], axis=0, ddof=1)[0]
    pixels = np.array([32**2, 32]) / np.mean([32**2, 32])
    groups = [[0], [1, 2], [3, 4]]
    units = [np.sqrt((pixels[:, None] * variances[:, group]).mean()) for group in groups]
    difference = np.arange(10.0).reshape(1, 2, 5) / 100
    wanted = np.mean(
        [
            (pixels[:, None] * (difference[0][:, group] / unit) ** 2).mean()
            for group, unit in zip(groups, units, strict=True)
        ]
    )
    target = model(image)
    found = model.default_loss(image)(target + jnp.asarray(difference, target.dtype), target)
    assert found == pytest.approx(wanted, rel=1e-3)
    loss = PooledLuminance(windows).default_loss(jnp.ones((3, 32, 32)))
    assert loss.standard_deviation.shape == (3, 2)


def test_windows_refuse(unchecked):
    make = log_polar_windows
    with pytest.raises(ValueError, match="scaling must be"):
        make((64, 64), 0.0, 4, 30)
    with pytest.raises(ValueError, match="below max_eccentricity, got 30 and 4"):
        make((64, 64), 0.5, 30, 4)
    with pytest.raises(ValueError, match=r"center must be .* 64 x 64 pixels, got \(64, 3\)"):
        make((64, 64), 0.5, 4, 30, center=(64, 3))
    with pytest.raises(ValueError, match="center must be a row and a column .* got 3"):
        make((64, 64), 0.5, 4, 30, center=3)
    for one in (lambda: make(64, 0.5, 4, 30), lambda: uniform_window(64)):
        with pytest.raises(ValueError, match="image_shape must be the height .* got 64. For an"):
            one()
    with pytest.raises(ValueError, match="size must be the height and the width, got 8"):
        grid_windows((64, 64), 8)
    with pytest.raises(ValueError, match="map_shape must be the height and the width, got 8"):
        uniform_window((64, 64)).resize(8)
    with pytest.raises(
        ValueError, match="profile must be one of gaussian, raised_cosine, got 'box'"
    ):
        make((64, 64), 0.5, 4, 30, profile="box")
    with pytest.raises(ValueError, match="pixels_per_degree must be"):
        make((64, 64), 0.5, 4, 30, pixels_per_degree=0)
    with pytest.raises(ValueError, match="one window must average 4 pixels"):
        make((64, 64), 0.1, 0.5, 2)
    windows = make((64, 64), 0.5, 8, 30)
    with pytest.raises(ValueError, match=r"64 x 64 pixels as the windows, got 32 x 32"):
        windows(jnp.ones((1, 32, 32)))
    with pytest.raises(ValueError, match=r"got shape \(4, 4\)"):
        DenseWindows(np.ones((4, 4)))
    with pytest.raises(ValueError, match="not negative, got -1 to 1"):
        DenseWindows(np.stack([np.ones((4, 4)), -np.ones((4, 4))]))
    with pytest.raises(ValueError, match="got none in window 1"):
        DenseWindows(np.stack([np.ones((4, 4)), np.zeros((4, 4))]))
