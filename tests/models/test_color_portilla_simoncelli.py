import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

from plenoptax.models import ColorPortillaSimoncelli

from .color_oracle import measure


def photograph(rows=slice(60, 108), columns=slice(100, 148), dtype=np.float64):
    """A crop of the cat, with its eye."""
    return np.moveaxis(skimage.data.chelsea()[rows, columns], -1, 0).astype(dtype) / 255


@pytest.fixture(scope="module")
def model():
    return ColorPortillaSimoncelli((32, 32), n_scales=2, n_orientations=2, spatial_corr_width=3)


@pytest.fixture
def image(rng):
    return jnp.asarray(rng.random((3, 32, 32)), jnp.float32)


@pytest.mark.parametrize(("transform", "arguments"), [("opponent", (2, 2, 3)), ("opc", (3, 3, 4))])
def test_statistics_equal_the_oracle(x64, transform, arguments):
    image = photograph()
    model = ColorPortillaSimoncelli((48, 48), *arguments, transform=transform)
    found = model.convert_to_dict(model(jnp.asarray(image)))
    wanted = measure(image, np.asarray(model.matrix), *arguments)
    assert set(found) == set(wanted) | (
        {"cross_scale_correlation_magnitude", "cross_scale_correlation_real"}
    )
    for name, values in wanted.items():
        kept = ~np.isnan(found[name])
        assert kept.sum() == model.statistic_groups.count(name)
        np.testing.assert_allclose(found[name][kept], values[kept], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("quantiles", [True, False])
def test_number_of_statistics(quantiles):
    model = ColorPortillaSimoncelli((128, 128), color_quantiles=quantiles)
    assert model.num_statistics == 3768 + 512 * quantiles
    assert len(model.statistic_scales) == len(model.statistic_groups) == model.num_statistics


def test_call_measures_the_scales_that_are_asked_for(model, image):
    full = model(image)
    for scales in (["residual_lowpass"], ["residual_highpass", 1, "pixel_statistics"]):
        expected = model.remove_scales(full, scales)
        np.testing.assert_allclose(model(image, scales), expected, rtol=1e-4, atol=1e-5)
    parts = [model.remove_scales(full, [label]).size for label in model.scales]
    assert sum(parts) == full.size


def test_convert_to_dict_and_back(model, rng):
    representation = rng.random((2, model.num_statistics), np.float32)
    groups = model.convert_to_dict(representation)
    assert list(groups) == list(dict.fromkeys(model.statistic_groups))
    np.testing.assert_array_equal(model.convert_to_tensor(groups), representation)


def test_weights_remove_the_quantiles(image):
    weights = {"color_quantiles": 0}
    weighted = ColorPortillaSimoncelli((32, 32), 2, 2, 3, weights=weights)
    without = ColorPortillaSimoncelli((32, 32), 2, 2, 3, color_quantiles=False)
    found = weighted.convert_to_dict(weighted(image))
    assert not found.pop("color_quantiles").any()
    wanted = without.convert_to_dict(without(image))
    chex.assert_trees_all_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_other_sizes_have_their_own_masks(model, getkey):
    image, scales = jax.random.uniform(getkey(), (3, 41, 36)), ["residual_lowpass"]
    wanted = ColorPortillaSimoncelli((41, 36), 2, 2, 3)(image, scales)
    np.testing.assert_allclose(model(image, scales), wanted, rtol=1e-5, atol=1e-6)
    once = image[:, :32, :32]
    twice = jnp.tile(once, (1, 2, 1))
    np.testing.assert_allclose(model(twice, scales), model(once, scales), rtol=1e-3, atol=1e-4)


def test_new_images_and_weights_compile_nothing(image):
    chex.clear_trace_counter()

    @eqx.filter_jit
    @chex.assert_max_traces(n=1)
    def run(model, image):
        return model(image, ["residual_lowpass"])

    for factor in (1.0, 2.0):
        weights = {"std_reconstructed": factor}
        run(ColorPortillaSimoncelli((32, 32), 2, 2, 3, weights=weights), factor * image)


def test_gradient_equals_finite_differences(x64, rng):
    model = ColorPortillaSimoncelli((16, 24), 1, 2, 3, linear=True)
    image, direction = jnp.asarray(rng.random((2, 3, 16, 24)))

    @jax.jit
    def along(image):
        return jax.jvp(model, (image,), (direction,))

    (value, slope), step = along(image), 1e-7
    above, below = (along(image + sign * step * direction)[0] for sign in (1, -1))
    # The order of the colors does not change within so small a step.
    np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=1e-5, atol=1e-5)
    cotangent = jnp.asarray(rng.standard_normal(value.shape))
    (gradient,) = jax.jit(lambda image: jax.vjp(model, image)[1](cotangent))(image)
    np.testing.assert_allclose(jnp.vdot(gradient, direction), jnp.vdot(cotangent, slope))


@pytest.mark.parametrize("kind", ["black", "constant", "gray"])
def test_degenerate_images_have_finite_statistics_and_gradients(model, rng, kind):
    gray = jnp.asarray(np.tile(rng.random((1, 32, 32)), (3, 1, 1)), jnp.float32)
    image = {"black": 0 * gray, "constant": 0 * gray + 0.3, "gray": gray}[kind]
    value, gradient = jax.jit(jax.value_and_grad(lambda image: jnp.sum(model(image) ** 2)))(image)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    groups = model.convert_to_dict(model(image))
    between = np.asarray(groups["cross_orientation_correlation_magnitude"])[2:, :2]
    assert not between.any()
    assert not np.asarray(groups["skew_transformed"])[1:].any()
    np.testing.assert_array_equal(groups["kurtosis_transformed"][1:], 3)


def test_principal_axes_have_unit_variance_and_a_floor(getkey):
    image = jnp.asarray(photograph(dtype=np.float32))
    model = ColorPortillaSimoncelli((48, 48), 2, transform="pca", image=image)
    channels = np.tensordot(np.asarray(model.matrix, float), np.asarray(image, float), 1)
    np.testing.assert_allclose(np.cov(channels.reshape(3, -1)), np.eye(3), atol=1e-4)
    # Three colors lie in a plane: the third channel is rounding noise.
    flat = np.eye(3)[np.asarray(jax.random.randint(getkey(), (48, 48), 0, 3))].transpose(2, 0, 1)
    flat = (0.2 + 0.6 * flat).astype(np.float32)
    model = ColorPortillaSimoncelli((48, 48), 2, transform="pca", image=flat)
    channels = np.tensordot(np.asarray(model.matrix, float), flat, 1).reshape(3, -1)
    np.testing.assert_allclose(channels.std(1)[:2], 1, rtol=1e-3)
    assert channels.std(1)[2] < 1e-3


def test_transforms_by_name(image):
    def matrix(**options):
        return np.asarray(ColorPortillaSimoncelli((32, 32), 1, 2, 3, **options).matrix)

    np.testing.assert_allclose(matrix() @ matrix().T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(matrix() @ np.ones(3), [3**0.5, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(matrix(transform=None), np.eye(3))
    # The rows of plenoptic's matrix: (L + M) / 2, 4 (M - L) and (L + M) / 2 - S.
    np.testing.assert_allclose(matrix(transform="opc")[0], [0.2889, 0.65135, 0.0592], rtol=1e-6)
    np.testing.assert_allclose(matrix(transform="opc")[1], [-0.7376, 0.5844, 0.152], rtol=1e-4)
    own = np.diag([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(matrix(transform=own), own)


def test_linear_light_is_measured_after_decoding(image):
    options = {"n_scales": 1, "n_orientations": 2, "spatial_corr_width": 3}
    linear = ColorPortillaSimoncelli((32, 32), **options, linear=True)
    coded = ColorPortillaSimoncelli((32, 32), **options)
    decoded = np.asarray(image, float)
    decoded = np.where(decoded <= 0.04045, decoded / 12.92, ((decoded + 0.055) / 1.055) ** 2.4)
    decoded = jnp.asarray(decoded, jnp.float32)
    lowpass = ["residual_lowpass"]
    np.testing.assert_allclose(
        linear(image, lowpass), coded(decoded, lowpass), rtol=1e-4, atol=1e-5
    )
    # The pixel statistics are of the values as they are.
    pixels = ["pixel_statistics"]
    for other, is_same in ((image, True), (decoded, False)):
        found, wanted = linear(image, pixels), coded(other, pixels)
        is_equal = np.isclose(found, wanted, rtol=1e-4, atol=1e-5)
        assert is_equal[:18].all() == is_same
        assert is_equal[21:].all() != is_same


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"transform": "lab"}, r"transform must be one of \['opponent', 'opc', 'pca'\]"),
        ({"transform": np.ones((3, 3))}, "transform must be an invertible matrix"),
        ({"transform": np.full((3, 3), np.nan)}, "transform must be an invertible matrix"),
        ({"transform": np.eye(2)}, r"transform must have the shape \(3, 3\), got \(2, 2\)"),
        ({"transform": "pca"}, "image must be given for transform='pca'"),
        ({"image": np.ones((3, 8, 8))}, "image must be given for transform='pca'"),
        ({"transform": "pca", "image": np.ones((1, 8, 8))}, "image must have the shape"),
        ({"transform": "pca", "image": np.ones((3, 8, 8))}, "image must have several colors"),
        ({"weights": {"magnitude_means": 0}}, "keys of weights must be among"),
        ({"n_orientations": 1}, "n_orientations must be a whole number, at least 2"),
    ],
)
def test_wrong_arguments(options, match):
    with pytest.raises(ValueError, match=match):
        ColorPortillaSimoncelli((32, 32), **({"n_scales": 2} | options))


@pytest.mark.parametrize(("channels", "advice"), [(1, "PortillaSimoncelli"), (4, "opacity")])
def test_wrong_number_of_channels(model, channels, advice):
    with pytest.raises(ValueError, match=f"must have 3 channels, got {channels}.*{advice}"):
        model(jnp.zeros((channels, 32, 32)))
    with pytest.raises(ValueError, match=r"must have the shape \(channel, height, width\)"):
        model(jnp.zeros((32, 32)))


@pytest.mark.usefixtures("close_figures")
def test_plot_shows_all_groups(model, image):
    representation = model(image)
    axes = model.plot_representation(representation)
    assert len(axes) == 14
    groups = model.convert_to_dict(representation)

    def stems(title):
        (one,) = (one for one in axes if one.get_title().replace("\n", "_") == title)
        return np.asarray(one.containers[0].markerline.get_ydata())

    np.testing.assert_allclose(stems("color_quantiles"), groups["color_quantiles"].ravel())
    block = np.asarray(groups["cross_scale_correlation_real"])[2:4]
    of_first = block[:, [0, 1, 6, 7]]
    shown = stems("cross_scale_correlation_real").reshape(3, 3, -1)[1, 0]
    np.testing.assert_allclose(shown, np.sqrt((of_first**2).sum((0, 1))), rtol=1e-5)
    model.update_plot(axes, 2 * representation)
    np.testing.assert_allclose(stems("color_quantiles"), 2 * groups["color_quantiles"].ravel())
    with pytest.raises(ValueError, match="data must have the shape"):
        model.plot_representation(representation[None, None])
