import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.parametrize import AbstractParametrization, Pixels, Sigmoid


ALL = [Pixels(), Pixels(bounds=(0.0, 1.0)), Sigmoid(), Sigmoid((-2.0, 3.0))]


@pytest.mark.parametrize("parametrization", ALL)
def test_decode_inverts_encode(parametrization, rng, x64):
    assert isinstance(parametrization, AbstractParametrization)
    for dtype in (jnp.float32, jnp.float64):
        image = jnp.asarray(rng.uniform(0.002, 0.998, (2, 9, 8)), dtype)
        decoded = parametrization.decode(parametrization.encode(image))
        assert decoded.dtype == dtype
        np.testing.assert_allclose(decoded, image, atol=20 * jnp.finfo(dtype).eps)


@pytest.mark.parametrize("parametrization", ALL)
def test_parametrization_maps_over_a_batch_under_jit(parametrization, rng):
    z = jnp.asarray(rng.standard_normal((3, 1, 4, 4)), jnp.float32)
    decoded = jax.jit(jax.vmap(parametrization.decode))(z)
    np.testing.assert_allclose(decoded, parametrization.decode(z), atol=1e-6)
    projected = jax.jit(jax.vmap(parametrization.project))(z)
    np.testing.assert_array_equal(projected, parametrization.project(z))


def test_pixels_are_what_they_are(rng):
    image = 3 * jnp.asarray(rng.standard_normal((1, 4, 4)), jnp.float32)
    assert jax.tree.leaves(Pixels()) == []
    for method in (Pixels().encode, Pixels().decode, Pixels().project):
        assert method(image) is image


def test_pixels_are_clipped_into_the_box(rng):
    parametrization = Pixels(bounds=(-0.5, 0.25))
    image = jnp.asarray(rng.standard_normal((1, 16, 16)), jnp.float32)
    for clipped in (parametrization.project(image), parametrization.encode(image)):
        np.testing.assert_array_equal(clipped, np.clip(image, -0.5, 0.25))
    np.testing.assert_array_equal(parametrization.decode(image), image)


def test_pixels_may_have_a_box_each_that_is_no_reason_to_retrace(rng):
    count = eqx.debug.assert_max_traces(lambda p, z: p.project(z), max_traces=1)
    project = eqx.filter_jit(count)
    center = jnp.asarray(rng.random((1, 5, 5)), jnp.float32)
    for radius in (0.1, 0.2):
        box = Pixels(bounds=(center - radius, center + radius))
        moved = project(box, center + 1)
        np.testing.assert_allclose(moved, center + radius, rtol=1e-6)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-5.0, 1.0), (-1.0, 0.0), (100.0, 100.5)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_sigmoid_stays_strictly_inside_for_any_variable(bounds, dtype, x64):
    extremes = [-jnp.inf, -1e30, -200.0, -30.0, 0.0, 30.0, 200.0, 1e30, jnp.inf]
    z = jnp.array(extremes, dtype)
    image, gradient = jax.vmap(jax.value_and_grad(Sigmoid(bounds).decode))(z)
    assert image.dtype == dtype
    assert np.all(image > bounds[0])
    assert np.all(image < bounds[1])
    assert np.all(np.diff(image) >= 0)
    assert np.all(np.isfinite(gradient))


def test_sigmoid_starts_images_at_the_bounds_less_than_half_a_gray_level_inside():
    image = jnp.array([[[0.0, 1.0, -3.0, 7.0, 1 / 255]]])
    parametrization = Sigmoid()
    z = parametrization.encode(image)
    np.testing.assert_allclose(z[0, 0, :4], np.log(999) * np.array([-1, 1, -1, 1]), rtol=1e-4)
    decoded = parametrization.decode(z)
    np.testing.assert_array_equal(np.round(decoded * 255)[0, 0], [0, 255, 0, 255, 1])
    slope = jax.vmap(jax.grad(parametrization.decode))(z.ravel())
    assert np.all(slope > 9e-4)


def test_sigmoid_margin_is_a_part_of_the_range():
    parametrization = Sigmoid((-10.0, 10.0), margin=0.1)
    decoded = parametrization.decode(parametrization.encode(jnp.array([-10.0, 0.0, 50.0])))
    np.testing.assert_allclose(decoded, [-8, 0, 8], atol=1e-5)


def test_sigmoid_bounds_may_differ_between_channels(rng):
    low = jnp.array([0.0, -1.0]).reshape(2, 1, 1)
    parametrization = Sigmoid((low, low + 0.5))
    image = low + jnp.asarray(rng.uniform(0.01, 0.49, (2, 3, 3)), jnp.float32)
    decoded = parametrization.decode(parametrization.encode(image))
    np.testing.assert_allclose(decoded, image, atol=1e-6)


def test_sigmoid_does_not_constrain_its_variable():
    z = jnp.array([-40.0, 0.0, 40.0])
    assert Sigmoid().project(z) is z


def test_nan_is_passed_on():
    z = jnp.array([jnp.nan])
    assert np.isnan(Sigmoid().decode(z))
    assert np.isnan(Pixels(bounds=(0.0, 1.0)).project(z))


def test_bounds_may_be_traced():
    decode = jax.jit(lambda high: Sigmoid((0.0, high)).decode(jnp.zeros(2)))
    np.testing.assert_array_equal(decode(3.0), [1.5, 1.5])


@pytest.mark.parametrize("make", [lambda bounds: Pixels(bounds=bounds), Sigmoid])
@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.5, 0.5), (0.0, float("nan"))])
def test_bounds_in_the_wrong_order_are_refused(make, bounds):
    with pytest.raises(ValueError, match="lower one first"):
        make(bounds)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="finite"):
        Sigmoid((0.0, float("inf")))
    for margin in (0.0, 0.5, -0.1):
        with pytest.raises(ValueError, match="margin"):
            Sigmoid(margin=margin)
    with pytest.raises(TypeError):
        AbstractParametrization()  # pyright: ignore[reportAbstractUsage]
