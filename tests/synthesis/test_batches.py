import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx

from .metamers import quietly


def l2(image, other):
    return jnp.sqrt(jnp.sum((image - other) ** 2) + 1e-12)


class Halves:
    """A model with the two halves of an image as its scales."""

    scales = ("coarse", "fine")

    def __call__(self, image, scales=None):
        halves = {"coarse": image[:, :4], "fine": image[:, 4:]}
        kept = [jnp.sin(halves[s]) for s in self.scales if scales is None or s in scales]
        return jnp.concatenate(kept, axis=1)


def synthesize_paths(images, **options):
    options = {"model": jnp.sin, "n_steps": 2, "initial_sequence": "bridge", **options}
    return plx.geodesic(images, images[::-1], **options)


COMPETITION = {"optimized_metric": l2, "reference_metric": plx.metric.mse, "minmax": "max"}
METHODS = {
    "metamer": ft.partial(plx.metamer, model=jnp.sin),
    "metamer_ctf": ft.partial(plx.metamer_ctf, model=Halves()),
    "mad_competition": ft.partial(plx.mad_competition, **COMPETITION, metric_tradeoff_lambda=1.0),
    "geodesic": synthesize_paths,
}
methods = pytest.mark.parametrize("synthesize", METHODS.values(), ids=METHODS)
# Without a key to start from, a method gives up when it has posed its problem, which saves time.
no_start = ft.partial(pytest.raises, ValueError, match="key=")


@pytest.fixture
def images(getkey):
    return jax.random.uniform(getkey(), (2, 1, 8, 8))


@methods
def test_a_batch_out_of_range_is_warned_of_once_as_one_image_is(synthesize, images):
    wide = images.at[1].multiply(255)
    with pytest.warns(UserWarning, match=f"to {wide.max():.3g}, outside of") as told, no_start():
        synthesize(wide, batch=True)
    assert len(told) == 1
    # Warnings are errors here.
    for allowed, options in ((images, {}), (wide, {"penalty_lambda": 0.0})):
        with no_start():
            synthesize(allowed, batch=True, **options)


@methods
def test_a_batch_that_is_not_finite_is_refused(synthesize, images):
    with pytest.raises(ValueError, match="infinite or not a number"):
        synthesize(images.at[1, 0, 0, 0].set(jnp.nan), batch=True)


@pytest.mark.parametrize("options", [{"batch": True}, {"num_seeds": 2}])
def test_starts_of_their_own_leave_images_checked(options, images):
    # Two answers to one question, which end a synthesis before it begins.
    neither = {"optimizer": optax.adam(0.1), "solver": plx.Solver(optax.adam(0.1))}
    wide = 255 * (images if "batch" in options else images[0])
    with (
        pytest.warns(UserWarning, match="outside of") as told,
        pytest.raises(ValueError, match="optimizer= and solver="),
    ):
        METHODS["mad_competition"](wide, initial_image=images, **options, **neither)
    assert len(told) == 1


@pytest.mark.parametrize("batch", [True, False])
def test_a_constraint_keeps_each_image_of_a_batch_within_the_pixels(batch, images):
    with (
        pytest.warns(UserWarning, match="outside of") as told,
        pytest.raises(ValueError, match=r"within \[0, 1\]"),
    ):
        plx.mad_competition(2 * images if batch else 2 * images[0], **COMPETITION, batch=batch)
    assert len(told) == 1


def test_a_batch_of_images_equals_its_singles(model, getkey):
    images = jax.random.uniform(getkey(), (3, 1, 12, 12))
    starts = jax.random.uniform(getkey(), (3, 1, 12, 12))
    together = quietly(images, model, initial_image=starts, batch=True, max_steps=40)
    assert together.image.shape == (3, 1, 12, 12)
    assert len(together) == 3
    for index in range(3):
        alone = quietly(images[index], model, initial_image=starts[index], max_steps=40)
        np.testing.assert_allclose(together[index].image, alone.image, atol=2e-4)
        np.testing.assert_allclose(together.trace[index].losses, alone.trace.losses, rtol=1e-3)
        np.testing.assert_allclose(together.image[index], together[index].image)


def test_seeds_are_the_metamers_of_the_keys_that_one_splits_into(model, getkey):
    image, key = jax.random.uniform(getkey(), (1, 12, 12)), getkey()
    seeds = quietly(image, model, key=key, num_seeds=4, max_steps=5, record=2)
    assert seeds.image.shape == (4, 1, 12, 12)
    assert seeds.problem.problem.target.shape == (1, 12, 12)
    for seed, own_key in zip(seeds, jax.random.split(key, 4), strict=True):
        alone = quietly(image, model, key=own_key, max_steps=5, record=2)
        np.testing.assert_array_equal(seed.trace.images[0], alone.trace.images[0])
        np.testing.assert_allclose(seed.image, alone.image, atol=2e-4)
        np.testing.assert_allclose(seed.trace.losses, alone.trace.losses, rtol=1e-3)
    assert len({float(image.sum()) for image in seeds.image}) == 4
    np.testing.assert_array_equal(seeds[1].get_progress(-1)["image"], seeds[1].image)
    with pytest.raises(TypeError, match=r"result\[0\]"):
        seeds.get_progress(-1)


def test_batches_over_penalty_weights(image, model, getkey):
    weights = jnp.asarray([0.0, 0.1, 10.0])
    problems = plx.batch(lambda weight: plx.Metamer(image, model, penalty_lambda=weight), weights)
    solver = plx.Solver(optax.adam(0.05))
    start = plx.init(problems, solver, initial_image=jnp.full(image.shape, 1.5))
    state, traces = plx.run(problems, solver, start, 3)
    penalty = traces[0].penalties[0]
    for index, weight in enumerate(weights):
        difference = traces[index].losses[0] - traces[0].losses[0]
        np.testing.assert_allclose(difference, weight * penalty, rtol=1e-4)


class Scaled(eqx.Module):
    """A model, or a metric, with a parameter."""

    gain: jax.Array
    scales = ("coarse", "fine")

    def __call__(self, image, other=None, scales=None):
        if other is not None:
            return self.gain * jnp.mean((image - other) ** 2)
        parts = {"coarse": image.mean(-1).ravel(), "fine": jnp.sin(self.gain * image).ravel()}
        return jnp.concatenate([parts[s] for s in self.scales if scales is None or s in scales])


def texture(image, weights):
    model = plx.models.PortillaSimoncelli((32, 32), 1, 2, 3, weights=weights)
    return plx.Metamer(image, model)


BY_PARAMETERS = {
    "metamer": lambda image, gain: plx.Metamer(image, Scaled(gain)),
    "a model of the library": lambda i, std: plx.Metamer(i, plx.models.Gaussian(5, std)),
    "metamer_ctf": lambda image, gain: plx.MetamerCTF(image, Scaled(gain)),
    "mad": lambda image, gain: plx.MADCompetition(image, l2, Scaled(gain), "max", 1.0),
    "geodesic": lambda i, gain: plx.Geodesic(i, i[:, ::-1], Scaled(gain), n_steps=2),
    "conditional geodesic": lambda i, bound: plx.ConditionalGeodesic(
        plx.Geodesic(i, i[:, ::-1], jnp.sin, n_steps=2), bound
    ),
    "texture": lambda i, gain: texture(jnp.tile(i, (1, 4, 4)), jnp.full(32, gain)),
}


@pytest.mark.parametrize("pose", BY_PARAMETERS.values(), ids=BY_PARAMETERS)
def test_a_batch_over_parameters_equals_its_singles(pose, images):
    gains = jnp.asarray([0.5, 2.0])
    problems = plx.batch(ft.partial(pose, images[0]), gains)
    solver = plx.Solver(plx.amsgrad(0.01))
    state = plx.init(problems, solver, key=jax.random.key(0))
    _, traces = plx.run(problems, solver, state, 3)
    assert traces[0].losses[0] != traces[1].losses[0]
    for index, key in enumerate(jax.random.split(jax.random.key(0))):
        problem = pose(images[0], gains[index])
        _, trace = plx.run(problem, solver, plx.init(problem, solver, key=key), 3)
        # The covariance of a texture's statistics is sampled, and rounded otherwise in a batch.
        rtol = 5e-3 if pose is BY_PARAMETERS["texture"] else 1e-4
        np.testing.assert_allclose(traces[index].losses, trace.losses, rtol=rtol)
