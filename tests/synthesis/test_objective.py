import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx


NEVER = plx.stop.Never()
quietly = ft.partial(plx.synthesize, progress=False)


class Neuron(eqx.Module):
    filter: jax.Array

    def __call__(self, image):
        return -jnp.vdot(self.filter, image) / jnp.linalg.norm(image), {"mean": jnp.mean(image)}


def test_the_most_exciting_image_of_a_linear_neuron_is_its_filter(getkey):
    neuron = Neuron(jax.random.normal(getkey(), (1, 12, 12)))
    result = quietly(
        neuron,
        (1, 12, 12),
        penalty_lambda=0.0,
        optimizer=plx.lbfgs(10),
        key=getkey(),
        max_steps=60,
    )
    correlation = np.corrcoef(np.ravel(result.image), np.ravel(neuron.filter))[0, 1]
    assert correlation > 0.9999
    assert result.trace.terms["mean"].shape == (len(result.trace) + 1,)


def test_a_metamer_to_a_given_representation(getkey):
    model = plx.models.Gaussian(5, std=0.8)
    target = model(jax.random.uniform(getkey(), (1, 16, 16)))

    def mismatch(model, target, image):
        return plx.loss.mse(model(image), target)

    objective = jax.tree_util.Partial(mismatch, model, target)
    solver = plx.Solver(plx.lbfgs(10), stop=plx.stop.Never())
    result = quietly(objective, (1, 16, 16), solver=solver, key=getkey(), max_steps=150)
    assert result.trace.losses[-1] < 1e-3 * result.trace.losses[0]
    np.testing.assert_allclose(model(result.image), target, atol=0.03)


def test_a_diverse_set_of_metamers_stays_mutually_distant(getkey):
    model = plx.models.Gaussian(7, std=2.0)
    target = model(jax.random.uniform(getkey(), (1, 16, 16)))

    def objective(images):
        loss = jnp.mean((jax.vmap(model)(images) - target[None]) ** 2)
        rows = images.reshape(3, -1)
        distances = jnp.stack(
            [jnp.mean((rows[i] - rows[j]) ** 2) for i, j in ((0, 1), (1, 2), (0, 2))]
        )
        return 100 * loss - jnp.min(distances), {"distances": distances, "loss": loss}

    start = 0.5 + 0.01 * jax.random.normal(getkey(), (3, 1, 16, 16))
    result = quietly(
        objective, (3, 1, 16, 16), penalty_lambda=1.0, initial_image=start, max_steps=400
    )
    assert result.trace.terms["loss"][-1] < 5e-4
    assert result.trace.terms["distances"][-1].min() > 0.1
    assert result.trace.terms["distances"][0].max() < 0.001


def test_a_controversial_pair_is_told_apart_by_one_model_alone(getkey):
    blind, sighted = jax.random.normal(getkey(), (2, 6, 16)) / 4

    def disagreement(pair):
        difference = jnp.ravel(pair[0] - pair[1])
        one, other = jnp.sum((blind @ difference) ** 2), jnp.sum((sighted @ difference) ** 2)
        terms = {"blind": jnp.sqrt(one), "sighted": jnp.sqrt(other)}
        return (100 * one - other) / jnp.sum(difference**2), terms

    solver = plx.Solver(plx.lbfgs(10), stop=plx.stop.Never())
    result = quietly(disagreement, (2, 1, 4, 4), solver=solver, key=getkey(), max_steps=150)
    seen = {name: values[-1] for name, values in result.trace.terms.items()}
    start = {name: values[0] for name, values in result.trace.terms.items()}
    assert start["blind"] > 0.2 * start["sighted"]
    assert seen["blind"] < 0.01 * seen["sighted"]
    # What the other sees best of all that the first does not see at all.
    _, _, directions = np.linalg.svd(np.asarray(blind))
    _, _, best = np.linalg.svd(np.asarray(sighted) @ directions[6:].T)
    found = np.ravel(result.image[0] - result.image[1])
    cosine = best[0] @ directions[6:] @ found / np.linalg.norm(found)
    assert abs(cosine) > 0.999
    assert result.trace.penalties[-1] < 1e-6


def test_parameters_are_leaves_and_recompile_nothing(getkey):
    traces = 0

    class Counted(Neuron):
        def __call__(self, image):
            nonlocal traces
            traces += 1
            return Neuron.__call__(self, image)

    for _ in range(2):
        quietly(
            Counted(jax.random.normal(getkey(), (1, 8, 8))), (1, 8, 8), key=getkey(), max_steps=3
        )
    # Twice and once to validate, and once for the step.
    assert traces == 4


def test_a_schedule_of_the_penalty(getkey):
    result = quietly(
        lambda image: jnp.sum(image**2),
        (1, 4, 4),
        lambda image: jnp.sum((image - 1) ** 2),
        lambda num_steps: jnp.where(num_steps < 30, 0.0, 50.0),
        optimizer=optax.sgd(0.005),
        key=getkey(),
        max_steps=250,
    )
    # Without the penalty the image goes to 0; at its full weight to 50/51.
    assert result.trace.penalties[29] > result.trace.penalties[0]
    np.testing.assert_allclose(result.image, 50 / 51, atol=1e-3)


def test_lbfgs_minimizes_an_objective_in_any_unit(getkey):
    model = plx.models.Gaussian(7)
    target = model(plx.data.brick()[:, :64, :64])

    def mismatch(model, target, factor, image):
        return factor * plx.loss.mse(model(image), target)

    start, solver = jax.random.uniform(getkey(), (1, 64, 64)), plx.Solver(plx.lbfgs(), NEVER)
    results = [
        quietly(
            jax.tree_util.Partial(mismatch, model, target, jnp.asarray(factor, jnp.float32)),
            (1, 64, 64),
            penalty_lambda=0.0,
            initial_image=start,
            solver=solver,
            max_steps=100,
        )
        for factor in (1, 2.0**-40, 2.0**66, 0.3, 7, 1e5)
    ]
    wanted = results[0]
    assert wanted.trace.losses[-1] < 1e-3 * wanted.trace.losses[0]
    for result in results[1:3]:
        np.testing.assert_array_equal(result.image, wanted.image)
    # Here rounding differs.
    for factor, result in zip((0.3, 7, 1e5), results[3:], strict=True):
        losses = result.trace.losses / factor
        np.testing.assert_allclose(losses[30], wanted.trace.losses[30], rtol=0.01)


def test_bad_objectives_are_refused(unchecked, getkey):
    with pytest.raises(ValueError, match="The objective must return one number"):
        quietly(lambda image: image, (1, 4, 4), key=getkey())
    with pytest.raises(ValueError, match="The objective must have a gradient"):
        quietly(lambda image: jnp.sum(jnp.sign(image)), (1, 4, 4), key=getkey())
    with pytest.raises(TypeError, match="objective_function must be a callable"):
        quietly(3, (1, 4, 4), key=getkey())


def test_objectives_in_float64(x64, getkey):
    target = jax.random.uniform(getkey(), (1, 6, 6), jnp.float64)
    result = quietly(
        lambda image: jnp.sum((image - target) ** 2),
        (1, 6, 6),
        image_dtype="float64",
        optimizer=plx.lbfgs(5),
        key=getkey(),
        max_steps=30,
    )
    np.testing.assert_allclose(result.image, target, atol=1e-9)
