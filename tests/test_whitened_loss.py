import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax.loss import WeightedL2Norm, whitened_loss_factory


class Linear(eqx.Module):
    matrix: jax.Array

    def __call__(self, image):
        return self.matrix @ image.ravel()


class Channels(eqx.Module):
    """Three numbers of each channel, from this channel alone."""

    matrix: jax.Array

    def __call__(self, image):
        return image.reshape(len(image), -1) @ self.matrix.T


@pytest.fixture
def linear(rng):
    return Linear(jnp.asarray(rng.normal(size=(6, 16)) * np.logspace(0, 2, 6)[:, None]))


def test_loss_is_the_length_of_the_least_change_that_explains_a_difference(x64, linear, rng):
    image, change = jnp.asarray(rng.normal(size=(2, 1, 4, 4)))
    loss = whitened_loss_factory(linear, image, num_samples=None, ridge=0.0)
    least = np.linalg.pinv(linear.matrix) @ (linear.matrix @ change.ravel())
    found = loss(linear(image + change), linear(image))
    np.testing.assert_allclose(found, 0.5 * least @ least, rtol=1e-8)
    assert found < 0.5 * jnp.sum(change**2)
    # A change that the model sees as a whole is the least one itself.
    seen = (linear.matrix.T @ rng.normal(size=6)).reshape(image.shape)
    found = loss(linear(image + seen), linear(image))
    np.testing.assert_allclose(found, 0.5 * jnp.sum(seen**2), rtol=1e-8)


def test_the_gradient_is_the_step_of_gauss_and_newton(x64, linear, rng):
    image, other = jnp.asarray(rng.normal(size=(2, 1, 4, 4)))
    loss = whitened_loss_factory(linear, image, num_samples=None, ridge=0.0)
    gradient = jax.grad(lambda x: loss(linear(x), linear(image)))(other)
    np.testing.assert_allclose(linear(other - gradient), linear(image), rtol=1e-7)
    assert not jax.grad(lambda x: loss(linear(x), linear(image)))(image).any()


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_ridge_and_weights_follow_the_formula(x64, linear, rng, weight):
    image = jnp.asarray(rng.normal(size=(1, 4, 4)))
    weights = jnp.ones(6).at[2].set(weight)
    loss = whitened_loss_factory(
        linear, image, WeightedL2Norm(weights), num_samples=None, ridge=0.01
    )
    rows = np.asarray(weights[:, None] * linear.matrix)
    covariance = rows @ rows.T
    covariance += 0.01 * np.linalg.norm(covariance) * np.eye(6)
    difference = rng.normal(size=6)
    weighted = np.asarray(weights) * difference
    wanted = 0.5 * weighted @ np.linalg.solve(covariance, weighted)
    found = loss(linear(image) + difference, linear(image))
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    alone = loss(linear(image) + jnp.zeros(6).at[2].set(1.0), linear(image))
    assert bool(alone == 0) is (weight == 0)


def test_samples_measure_the_covariance(linear, rng):
    image = jnp.asarray(rng.normal(size=(1, 4, 4)), jnp.float32)
    loss = whitened_loss_factory(linear, image, num_samples=8192, ridge=1e-6)
    covariance = np.asarray(linear.matrix @ linear.matrix.T)
    covariance = np.where(np.eye(6) == 1, covariance, 0.9 * covariance)
    found = np.asarray(loss.whitening, np.float64)
    np.testing.assert_allclose(found @ covariance @ found.T, np.eye(6), atol=0.06)
    other = whitened_loss_factory(linear, image, num_samples=8192, key=jax.random.key(1))
    assert not np.array_equal(loss.whitening, other.whitening)


def test_channels_have_covariances_of_their_own(x64, rng):
    model = Channels(jnp.asarray(rng.normal(size=(3, 16))))
    image, other = jnp.asarray(rng.normal(size=(2, 2, 4, 4)))
    exact = {"num_samples": None, "separate_axes": 1}
    loss = whitened_loss_factory(model, image, **exact)
    assert loss.whitening.shape == (2, 3, 3)
    alone = [
        whitened_loss_factory(model, image[i : i + 1], **exact)(
            model(other[i : i + 1]), model(image[i : i + 1])
        )
        for i in range(2)
    ]
    np.testing.assert_allclose(loss(model(other), model(image)), sum(alone), rtol=1e-10)
    together = whitened_loss_factory(model, image, num_samples=None, ridge=0.0)
    apart = whitened_loss_factory(model, image, **exact, ridge=0.0)
    arguments = model(other), model(image)
    np.testing.assert_allclose(together(*arguments), apart(*arguments), rtol=1e-8)


def test_windows_of_channels_have_covariances_of_their_own(x64, rng):
    """Each block is whitened by the inverse root of the covariance of its own statistics."""
    matrix = jnp.asarray(rng.normal(size=(2, 3, 16)))
    image, other = jnp.asarray(rng.normal(size=(2, 2, 4, 4)))

    def blocks(image):
        return jnp.einsum("wsp,cp->cws", matrix, image.reshape(len(image), -1))

    weights = jnp.asarray(rng.uniform(1, 2, size=(2, 2, 3)))
    loss = whitened_loss_factory(
        blocks, image, WeightedL2Norm(weights), num_samples=None, ridge=0.0, separate_axes=2
    )
    assert loss.whitening.shape == (2, 2, 3, 3)
    difference = np.asarray(weights * (blocks(other) - blocks(image)))
    total = 0.0
    for channel, window in np.ndindex(2, 2):
        rows = np.asarray(weights[channel, window][:, None] * matrix[window])
        one = difference[channel, window]
        total += 0.5 * one @ np.linalg.solve(rows @ rows.T, one)
    np.testing.assert_allclose(loss(blocks(other), blocks(image)), total, rtol=1e-8)


def test_more_separate_axes_than_there_are_are_refused(linear):
    with pytest.raises(ValueError, match="separate_axes must be at most the 1 axes"):
        whitened_loss_factory(linear, jnp.ones((1, 4, 4)), separate_axes=2)


@pytest.mark.parametrize("num_samples", [None, 256])
def test_texture_metamers_come_about_in_fewer_evaluations(num_samples):
    image = plx.data.brick()[:, :48, :48]
    model = plx.models.PortillaSimoncelli((48, 48), 2, 2, spatial_corr_width=3)
    weighted = plx.loss.portilla_simoncelli_loss_factory(model, image)
    whitened = whitened_loss_factory(
        model, image, weighted, num_samples=num_samples, separate_axes=1
    )
    start = jnp.clip(image.mean() + 0.1 * jax.random.normal(jax.random.key(0), image.shape), 0, 1)
    options = {"initial_image": start, "progress": False}
    slow = plx.metamer(image, model, weighted, max_steps=100, **options)
    fast = plx.metamer(image, model, whitened, max_steps=100, **options)
    np.testing.assert_allclose(
        fast.trace.terms["weighted_loss"][0], slow.trace.losses[0], rtol=1e-5
    )
    reached = np.flatnonzero(fast.trace.terms["weighted_loss"] <= slow.trace.losses[-1])
    assert 1.5 * reached[0] < 100


def test_traced_images_give_the_same_loss():
    brick = plx.data.brick()[:, :32, :32]
    images = jnp.stack([brick, 0.7 * brick])
    model = plx.models.PortillaSimoncelli((32, 32), 1, 2, spatial_corr_width=3)
    make = eqx.filter_vmap(lambda image: whitened_loss_factory(model, image, num_samples=64))
    together = make(images).whitening
    for image, found in zip(images, together, strict=True):
        wanted = whitened_loss_factory(model, image, num_samples=64).whitening
        np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, rtol=0.05, atol=1.0)


@pytest.mark.parametrize("value", [0.0, 0.5])
@pytest.mark.parametrize("num_samples", [None, 16])
def test_constant_images_have_finite_losses_and_gradients(value, num_samples):
    image = jnp.full((1, 32, 32), value)
    model = plx.models.PortillaSimoncelli((32, 32), 1, 2, spatial_corr_width=3)
    loss = whitened_loss_factory(model, image, num_samples=num_samples)
    assert bool(jnp.isfinite(loss.whitening).all())
    other = plx.data.brick()[:, :32, :32]
    for x in (image, other):
        found, gradient = jax.value_and_grad(lambda x: loss(model(x), model(image)))(x)
        assert bool(jnp.isfinite(found))
        assert bool(jnp.isfinite(gradient).all())


def test_a_model_that_ignores_its_image_is_left_as_it_is():
    loss = whitened_loss_factory(lambda image: jnp.ones(3), jnp.ones((1, 4, 4)))
    np.testing.assert_array_equal(loss.whitening, np.eye(3))


def test_bad_arguments_are_refused_with_a_sentence(unchecked):
    image = jnp.ones((1, 72, 72))
    with pytest.raises(ValueError, match="one array of real numbers"):
        whitened_loss_factory(lambda image: {"all": image.ravel()}, image)
    with pytest.raises(ValueError, match="one array of real numbers"):
        whitened_loss_factory(jnp.fft.fft2, image)
    with pytest.raises(ValueError, match="at most 4096 values, got 5184"):
        whitened_loss_factory(jnp.sin, image)
    with pytest.raises(ValueError, match="shape of the weights"):
        whitened_loss_factory(jnp.ravel, image[:, :4, :4], WeightedL2Norm(jnp.ones(3)))
    for number in (0, -1):
        with pytest.raises(ValueError, match="num_samples"):
            whitened_loss_factory(jnp.ravel, image[:, :4, :4], num_samples=number)
    with pytest.raises(ValueError, match="ridge"):
        whitened_loss_factory(jnp.ravel, image[:, :4, :4], ridge=-1.0)
