from collections import OrderedDict
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plenoptax.process import modulate_phase, SteerablePyramidFreq

from .pyramids import decompose, grating, reconstruct, steer


REFERENCE = Path(__file__).parents[1] / "reference" / "steerable_pyramid.npz"
CONFIGURATIONS = {
    "real": {"height": 2, "order": 3},
    "complex": {"height": 2, "order": 2, "is_complex": True},
    "tight": {"height": 1, "order": 1, "is_complex": True, "tight_frame": True},
    "same_size": {"height": 2, "order": 1, "downsample": False},
}
KINDS = [
    {"is_complex": is_complex, "downsample": downsample, "tight_frame": tight_frame}
    for is_complex in (False, True)
    for downsample in (False, True)
    for tight_frame in (False, True)
]


@eqx.filter_jit
def round_trip(pyramid, image):
    return pyramid.recon_pyr(pyramid(image))


def energies(coefficients):
    return {key: jnp.sum(jnp.abs(level) ** 2) for key, level in coefficients.items()}


@settings(max_examples=6, deadline=None)
@given(
    st.tuples(st.integers(8, 40), st.integers(8, 40)),
    st.integers(1, 5),
    st.sampled_from(KINDS),
)
def test_reconstruction_is_exact_at_any_size(shape, order, kind):
    image = jax.random.uniform(jax.random.key(order), (1, *shape))
    pyramid = SteerablePyramidFreq(shape, order=order, **kind)
    np.testing.assert_allclose(round_trip(pyramid, image), image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(k for k in kind if kind[k]))
def test_reconstruction_and_energy_in_float64(kind, x64, rng):
    shape = (37, 53)
    image = jnp.asarray(rng.uniform(size=(2, *shape)))
    pyramid = SteerablePyramidFreq(shape, order=2, twidth=2, **kind)
    coefficients = decompose(pyramid, image)
    result = reconstruct(pyramid, coefficients)
    assert result.dtype == jnp.float64
    np.testing.assert_allclose(result, image, rtol=0, atol=1e-12)
    total = sum(energies(coefficients).values())
    if kind["tight_frame"]:
        np.testing.assert_allclose(total, jnp.sum(image**2), rtol=1e-12)
    else:
        assert total > 1.1 * jnp.sum(image**2)


@pytest.mark.parametrize(
    ("shape", "is_complex"), [((101, 256), True), ((64, 64), False), ((97, 89), False)]
)
def test_reconstruction_of_larger_images(shape, is_complex, getkey):
    image = jax.random.uniform(getkey(), (1, *shape))
    pyramid = SteerablePyramidFreq(shape, is_complex=is_complex)
    np.testing.assert_allclose(round_trip(pyramid, image), image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [0, 4, 9, 15])
def test_reconstruction_of_every_order(order, getkey):
    image = jax.random.uniform(getkey(), (1, 17, 24))
    pyramid = SteerablePyramidFreq((17, 24), order=order)
    assert pyramid.num_orientations == order + 1
    np.testing.assert_allclose(round_trip(pyramid, image), image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (8, 8)])
def test_smallest_pyramids_reconstruct(shape, getkey):
    image = jax.random.uniform(getkey(), (1, *shape))
    pyramid = SteerablePyramidFreq(shape)
    assert pyramid.num_scales == (1 if shape == (8, 8) else 0)
    np.testing.assert_allclose(round_trip(pyramid, image), image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tight_frame", [False, True])
def test_band_energies_do_not_depend_on_downsampling(tight_frame, getkey):
    image = jax.random.uniform(getkey(), (1, 32, 48))
    options = {"height": 3, "is_complex": True, "tight_frame": tight_frame}
    small = decompose(SteerablePyramidFreq((32, 48), **options), image)
    large = decompose(SteerablePyramidFreq((32, 48), downsample=False, **options), image)
    for key, level in large.items():
        axes = (-2, -1)
        energy = jnp.sum(jnp.abs(level) ** 2, axes)
        np.testing.assert_allclose(jnp.sum(jnp.abs(small[key]) ** 2, axes), energy, rtol=1e-4)


def test_keys_run_from_fine_to_coarse():
    pyramid = SteerablePyramidFreq((128, 96), height=4, order=3)
    coefficients = eqx.filter_eval_shape(pyramid, jnp.zeros((2, 1, 128, 96)))
    assert list(coefficients) == ["residual_highpass", 0, 1, 2, 3, "residual_lowpass"]
    assert pyramid.scales == ["residual_lowpass", 3, 2, 1, 0, "residual_highpass"]
    shapes = [level.shape for level in coefficients.values()]
    bands = [(2, 1, 4, 128 >> scale, 96 >> scale) for scale in range(4)]
    assert shapes == [(2, 1, 128, 96), *bands, (2, 1, 8, 6)]


@pytest.mark.parametrize(
    ("size", "height"), [(256, 6), (255, 5), (64, 4), (28, 2), (8, 1), (7, 0), (1, 0)]
)
def test_height_auto(size, height):
    for shape in ((size, 2 * size), (300, size)):
        assert SteerablePyramidFreq(shape, order=1).num_scales == height


@pytest.mark.parametrize("is_complex", [False, True])
def test_scales_select_levels(is_complex, getkey):
    image = jax.random.uniform(getkey(), (1, 33, 40))
    pyramid = SteerablePyramidFreq((33, 40), is_complex=is_complex)
    everything = decompose(pyramid, image)
    for scales in ([2], [1, 0], ["residual_lowpass", 0], "residual_highpass", 1):
        chosen = decompose(pyramid, image, scales)
        wanted = [scales] if isinstance(scales, int | str) else scales
        assert list(chosen) == [key for key in everything if key in wanted]
        for key, level in chosen.items():
            np.testing.assert_allclose(level, everything[key], atol=1e-5)


@pytest.mark.parametrize("is_complex", [False, True])
def test_reconstructions_of_parts_add_up(is_complex, getkey):
    image = jax.random.uniform(getkey(), (1, 21, 32))
    pyramid = SteerablePyramidFreq((21, 32), 2, 2, is_complex=is_complex)
    coefficients = decompose(pyramid, image)
    parts = [
        reconstruct(pyramid, coefficients, ["residual_highpass", "residual_lowpass"]),
        reconstruct(pyramid, coefficients, 0, [0, 2]),
        reconstruct(pyramid, coefficients, [0], 1),
        reconstruct(pyramid, coefficients, [1]),
    ]
    np.testing.assert_allclose(sum(parts), image, atol=1e-6)
    # Levels that are not used need not be there.
    some = decompose(pyramid, image, [1])
    np.testing.assert_allclose(reconstruct(pyramid, some, [1]), parts[3], atol=1e-6)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_pyramid_equals_plenoptic(name, x64):
    with np.load(REFERENCE) as values:
        values = dict(values)
    image = jnp.asarray(values["image"])
    pyramid = SteerablePyramidFreq(image.shape[-2:], **CONFIGURATIONS[name])
    coefficients = decompose(pyramid, image)
    results = {str(key): level for key, level in coefficients.items()}
    results["recon_scale_0"] = reconstruct(pyramid, coefficients, [0])
    some = reconstruct(pyramid, coefficients, [0, "residual_lowpass"], [1])
    results["recon_band_1_and_lowpass"] = some
    if not pyramid.is_complex:
        for even in (True, False):
            steered, weights = steer(pyramid, coefficients, jnp.asarray(values["angles"]), even)
            results[f"steered_even_{even}"] = steered[0]
            results[f"weights_even_{even}"] = weights[0]
    assert len(results) == sum(key.startswith(f"{name}/") for key in values)
    for key, result in results.items():
        expected = values[f"{name}/{key}"]
        # plenoptic rounds its masks to float32 and reads them from tables of 1024 angles.
        tolerance = 2e-5 * np.abs(expected).max()
        np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance, err_msg=key)


def test_complex_amplitude_does_not_depend_on_phase():
    pyramid = SteerablePyramidFreq((48, 48), 2, 3, is_complex=True)
    bands = [
        decompose(pyramid, grating((48, 48), (6, 5), phase))[0] for phase in np.linspace(0, 3, 4)
    ]
    for band in bands:
        amplitude = jnp.abs(band)
        assert amplitude.max() > 0.1
        # Constant over the image, and the same at every phase.
        expected = jnp.abs(bands[0]).mean((-2, -1), keepdims=True)
        np.testing.assert_allclose(amplitude, jnp.broadcast_to(expected, band.shape), atol=1e-5)
    real = decompose(SteerablePyramidFreq((48, 48), 2, 3), grating((48, 48), (6, 5)))[0]
    np.testing.assert_allclose(real, bands[0].real, atol=1e-5)
    assert jnp.abs(real).std() > 0.05


@pytest.mark.parametrize("kind", KINDS[::3])
def test_pyramid_derivatives_are_those_of_a_linear_map(kind, x64, rng):
    shape = (17, 24)
    pyramid = SteerablePyramidFreq(shape, 1, 2, **kind)
    image, direction = jnp.asarray(rng.normal(size=(2, 1, *shape)))
    value, tangent = jax.jit(lambda *args: jax.jvp(pyramid, *args))((image,), (direction,))
    for key, level in decompose(pyramid, direction).items():
        np.testing.assert_allclose(tangent[key], level, atol=1e-12)
    _, pullback = jax.vjp(pyramid, image)
    (gradient,) = jax.jit(pullback)(jax.tree.map(jnp.conj, value))
    # The gradient of half the energy, along the image, is the energy.
    np.testing.assert_allclose(jnp.vdot(gradient, image), sum(energies(value).values()), rtol=1e-12)
    if kind["tight_frame"] and not kind["is_complex"]:
        # The adjoint of a tight frame is its inverse.
        np.testing.assert_allclose(gradient, image, atol=1e-12)


@pytest.mark.parametrize("value", ["black", "constant", "checkerboard"])
def test_gradients_are_finite_on_degenerate_images(value):
    rows, columns = jnp.meshgrid(jnp.arange(16), jnp.arange(16), indexing="ij")
    image = {
        "black": jnp.zeros((1, 16, 16)),
        "constant": jnp.full((1, 16, 16), 0.3),
        "checkerboard": ((rows + columns) % 2)[None].astype(jnp.float32),
    }[value]
    pyramid = SteerablePyramidFreq((16, 16), is_complex=True)

    @jax.jit
    @jax.value_and_grad
    def loss(image):
        coefficients = pyramid(image)
        doubled = jax.tree.map(modulate_phase, [coefficients[0], coefficients[1]])
        return sum(energies(coefficients).values()) + sum(jnp.sum(x.real) for x in doubled)

    result, gradient = loss(image)
    assert jnp.isfinite(result)
    assert jnp.isfinite(gradient).all()


def test_pyramid_is_a_layer_of_a_network(getkey):
    # Order 4, two scales of 28 x 28 images, then a convolution of width 6 and stride 2.
    pyramid = SteerablePyramidFreq((28, 28), 2, 4, downsample=False)
    kernel = jax.random.normal(getkey(), (3, 12, 6, 6))

    @jax.jit
    @jax.value_and_grad
    def loss(image):
        maps, _ = pyramid.convert_pyr_to_tensor(pyramid(image))
        features = jax.lax.conv(maps[None], kernel, (2, 2), "VALID")
        assert features.shape == (1, 3, 12, 12)
        return jnp.sum(jax.nn.relu(features))

    value, gradient = loss(jax.random.uniform(getkey(), (1, 28, 28)))
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    assert jnp.abs(gradient).max() > 0


def test_coefficients_are_a_pytree_everywhere(getkey):
    images = jax.random.uniform(getkey(), (2, 1, 16, 16))
    pyramid = SteerablePyramidFreq((16, 16), 1, 1, is_complex=True)
    expected = decompose(pyramid, images)
    keys = ["residual_highpass", 0, "residual_lowpass"]
    mapped = jax.jit(jax.vmap(lambda image: pyramid(image)))(images)
    doubled = jax.tree.map(lambda level: 2 * level, mapped)
    _, scanned = jax.lax.scan(lambda carry, image: (carry, pyramid(image)), None, images)
    carried, _ = jax.lax.scan(lambda carry, _: (carry, None), mapped, length=2)
    gradient = jax.grad(lambda levels: sum(energies(levels).values()))(mapped)
    for result in (expected, mapped, doubled, scanned, carried, gradient):
        assert isinstance(result, OrderedDict)
        assert list(result) == keys
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(mapped)]
    assert paths == ["['residual_highpass']", "[0]", "['residual_lowpass']"]
    for key in keys:
        np.testing.assert_allclose(mapped[key], expected[key], atol=1e-6)
        np.testing.assert_allclose(scanned[key], expected[key], atol=1e-6)
    restored = jax.jit(jax.vmap(lambda levels: pyramid.recon_pyr(levels)))(mapped)
    np.testing.assert_allclose(restored, images, atol=1e-6)


def test_precision_follows_the_image(x64):
    for is_complex in (False, True):
        pyramid = SteerablePyramidFreq((16, 18), is_complex=is_complex)
        for real, complex_ in ((jnp.float32, jnp.complex64), (jnp.float64, jnp.complex128)):
            image = jax.ShapeDtypeStruct((1, 16, 18), real)
            coefficients = eqx.filter_eval_shape(pyramid, image)
            assert coefficients["residual_highpass"].dtype == real
            assert coefficients["residual_lowpass"].dtype == real
            assert coefficients[0].dtype == (complex_ if is_complex else real)
            restored = eqx.filter_eval_shape(round_trip, pyramid, image)
            assert restored.dtype == real


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"image_shape": (32, 32), "height": 4}, "from 0 to 3"),
        ({"image_shape": (32, 32), "height": -1}, "height must be a whole number, at least 0"),
        ({"image_shape": (32, 32), "order": 16}, "0 to 15"),
        ({"image_shape": (32, 32), "order": -1}, "order must be a whole number, at least 0"),
        (
            {"image_shape": (32, 32), "order": 0, "is_complex": True},
            "order must be at least 1 .* got 0",
        ),
        ({"image_shape": (32, 32), "twidth": 0}, "twidth"),
        ({"image_shape": (1, 32, 32)}, "the height and the width"),
        ({"image_shape": 32}, "the height and the width, got 32. For an image"),
        ({"image_shape": (32.5, 32)}, "image_shape must be a whole number"),
        ({"image_shape": (0, 32)}, "image_shape must be a whole number"),
    ],
)
def test_pyramid_refuses_arguments(arguments, match, unchecked):
    with pytest.raises(ValueError, match=match):
        SteerablePyramidFreq(**arguments)


def test_pyramid_refuses_images_and_selections():
    pyramid = SteerablePyramidFreq((16, 20), 2)
    with pytest.raises(ValueError, match=r"\(16, 20\), got an image of shape \(1, 20, 16\)"):
        pyramid(jnp.zeros((1, 20, 16)))
    image = jnp.zeros((1, 16, 20))
    for scales in ([2], ["lowpass"], [], -1):
        with pytest.raises(ValueError, match="scales must be"):
            pyramid(image, scales)
    coefficients = decompose(pyramid, image)
    with pytest.raises(ValueError, match="levels must be"):
        pyramid.recon_pyr(coefficients, [5])
    with pytest.raises(ValueError, match="bands must be"):
        pyramid.recon_pyr(coefficients, bands=[4])
    with pytest.raises(ValueError, match="must have the level 'residual_lowpass'"):
        pyramid.recon_pyr(decompose(pyramid, image, [0, 1, "residual_highpass"]))
    with pytest.raises(ValueError, match="the pyramid that computed it"):
        SteerablePyramidFreq((16, 20), 2, 2).recon_pyr(coefficients)


# Sums of squares of the bands of the photograph of Einstein, from plenoptic in float64.
EINSTEIN_ENERGIES = {
    3: [
        [36.5573157, 18.9426206, 37.6375241, 17.003081],
        [242.290477, 115.785391, 169.482993, 93.0038551],
        [1202.56121, 705.981192, 680.827532, 499.939946],
        [5033.24477, 2609.03433, 3273.77699, 2461.99907],
        [44287.6218, 14915.6502, 9227.32543, 14302.5903],
        [149759.159, 32314.9579, 15264.5767, 37286.5707],
    ],
    1: [[54.7570584, 55.3835507], [358.951359, 261.611806], [1880.61492, 1208.6973]],
}


@pytest.mark.parity
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_complex": True},
        {"is_complex": True, "tight_frame": True},
        {"order": 1, "height": 3, "downsample": False},
    ],
    ids=["real", "complex", "tight", "same_size"],
)
def test_pyramid_of_a_photograph_equals_plenoptic(options, x64):
    plenoptic = pytest.importorskip("plenoptic")
    photograph = plenoptic.data.einstein().double()
    other = plenoptic.process.SteerablePyramidFreq((256, 256), **options).double()
    image = jnp.asarray(photograph[0].numpy())
    pyramid = SteerablePyramidFreq((256, 256), **options)
    coefficients, expected = decompose(pyramid, image), other(photograph)
    assert list(coefficients) == list(expected)
    assert pyramid.scales == other.scales
    for key, level in expected.items():
        level = level[0].numpy()
        tolerance = 2e-5 * np.abs(level).max()
        np.testing.assert_allclose(coefficients[key], level, rtol=0, atol=tolerance)
    for scale, energy in enumerate(EINSTEIN_ENERGIES[pyramid.order]):
        growth = 1 / 4**scale if pyramid.tight_frame else 1 + pyramid.is_complex
        result = jnp.sum(jnp.abs(coefficients[scale]) ** 2, axis=(0, 2, 3))
        np.testing.assert_allclose(result, growth * np.asarray(energy), rtol=2e-5)
    np.testing.assert_allclose(reconstruct(pyramid, coefficients), image, rtol=0, atol=1e-12)
    for levels, bands in (([0], "all"), ([1, "residual_lowpass"], [1]), ("all", [0])):
        result = reconstruct(pyramid, coefficients, levels, bands)
        part = other.recon_pyr(expected, levels, bands)[0].numpy()
        np.testing.assert_allclose(result, part, rtol=0, atol=2e-5)
