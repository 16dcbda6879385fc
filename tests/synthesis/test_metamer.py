import functools as ft
import inspect
from typing import Any

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx

from ..solve.problems import SmallNetwork
from .metamers import quietly


class Pair(eqx.Module):
    """A model that returns a tree."""

    blur: plx.models.Gaussian

    def __call__(self, image, scales=None):
        blurred = self.blur(image)
        rest = {"rest": image[:, :3] - blurred[:, :3]}
        return {"blurred": blurred} | ({} if scales == "coarse" else rest)


def test_metamer_reaches_a_small_loss_on_the_gaussian_model(image, model, getkey):
    result = quietly(image, model, key=getkey(), max_steps=1500)
    assert result.status == plx.Status.plateau
    assert len(result.trace) < 1500
    exact = plx.Solver(optax.amsgrad(0.01), stop=plx.stop.Never())
    result = quietly(image, model, key=getkey(), solver=exact, max_steps=1000)
    assert result.status == plx.Status.step_limit
    assert result.trace.losses[-1] < 1e-2 * result.trace.losses[0]
    np.testing.assert_allclose(model(result.image), model(image), atol=0.05)
    assert float(jnp.max(jnp.abs(result.image - image))) > 0.1


def test_metamer_of_a_small_network(image, getkey):
    network = SmallNetwork(key=getkey())
    solver = plx.Solver(plx.lbfgs(), stop=plx.stop.Never())
    result = quietly(image, network, key=getkey(), solver=solver, max_steps=300)
    assert result.trace.losses[-1] < 1e-3 * result.trace.losses[0]
    assert result.trace.provenance["driver"] == "host"


def test_metamer_of_a_tree_and_of_a_function(image, model, getkey):
    solver = plx.Solver(plx.lbfgs(), stop=plx.stop.Never())
    tree = quietly(image, Pair(model), key=getkey(), solver=solver, max_steps=200)
    assert tree.trace.losses[-1] < 1e-3 * tree.trace.losses[0]
    function = quietly(image, jnp.sin, key=getkey(), solver=solver, max_steps=200)
    np.testing.assert_allclose(function.image, image, atol=1e-3)


def test_target_is_the_models_representation(image, model):
    problem = plx.Metamer(image, model)
    np.testing.assert_array_equal(problem.target, eqx.filter_jit(model)(image))
    tree = plx.Metamer(image, Pair(model))
    assert set(tree.target) == {"blurred", "rest"}


def test_objective_function_is_the_loss_and_the_weighted_penalty(image, model, getkey):
    other = 2 * jax.random.uniform(getkey(), image.shape) - 0.5
    problem = plx.Metamer(image, model, plx.loss.l2_norm, penalty_lambda=3.0)
    excess = other - jnp.clip(other, 0, 1)
    wanted = jnp.linalg.norm(jnp.ravel(model(other) - model(image))) + 3 * jnp.sum(excess**2)
    np.testing.assert_allclose(problem.objective_function(other), wanted, rtol=1e-5)
    value, terms = problem.objective(problem.encode(other), problem.start())
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    np.testing.assert_allclose(terms["penalty"], jnp.sum(excess**2), rtol=1e-5)
    assert problem.objective_function(image) == 0
    against = problem.objective_function(other, target_representation=model(other))
    np.testing.assert_allclose(against, 3 * jnp.sum(excess**2), rtol=1e-5)
    coarse = plx.Metamer(image, Pair(model)).objective_function(
        other, {"blurred": model(image)}, scales="coarse"
    )
    np.testing.assert_allclose(
        coarse, jnp.mean((model(other) - model(image)) ** 2) + 0.1 * jnp.sum(excess**2), rtol=1e-5
    )


def test_residual_is_zero_at_the_target_and_its_mean_square_the_default_loss(image, model, getkey):
    problem = plx.Metamer(image, Pair(model), penalty_lambda=0.0)
    for leaf in jax.tree.leaves(problem.residual(problem.encode(image))):
        np.testing.assert_allclose(leaf, 0, atol=1e-6)
    other = jax.random.uniform(getkey(), image.shape)
    residual = problem.residual(problem.encode(other))
    assert jax.tree.map(jnp.shape, residual) == jax.tree.map(jnp.shape, problem.target)
    np.testing.assert_allclose(residual["blurred"], model(other - image), atol=1e-6)
    numbers = np.concatenate([np.ravel(leaf) for leaf in residual.values()])
    np.testing.assert_allclose(np.mean(numbers**2), problem.objective_function(other), rtol=1e-5)


@pytest.mark.parametrize("name", ["mse", "l2_norm", "relative_sse"])
def test_any_loss_may_be_chosen(name, image, model, getkey):
    loss = getattr(plx.loss, name)
    result = quietly(image, model, loss, key=getkey(), max_steps=3)
    wanted = loss(model(result.image), model(image))
    np.testing.assert_allclose(
        result.trace.losses[-1] - 0.1 * result.trace.penalties[-1], wanted, rtol=1e-4
    )


def test_losses_may_be_lambdas_and_saved(image, model, getkey, tmp_path):
    result = quietly(image, model, lambda x, y: jnp.sum(jnp.abs(x - y)), key=getkey(), max_steps=3)
    plx.io.save(tmp_path / "state.npz", result.state, result.trace)
    assert eqx.tree_equal(plx.io.load(tmp_path / "state.npz", like=result.state), result.state)


def test_the_penalty_holds_what_it_penalizes(image, model, getkey):
    narrow = ft.partial(plx.regularize.penalize_range, allowed_range=(0.4, 0.6))
    key = getkey()
    options = {"key": key, "max_steps": 150}
    with pytest.warns(UserWarning, match=r"outside of \[0\.4, 0\.6\]"):
        held = quietly(image, model, None, narrow, 1.0, **options)
    spreads = [
        float(jnp.std(one.image))
        for one in (quietly(image, model, None, narrow, 0.0, **options), held)
    ]
    assert spreads[1] < 0.8 * spreads[0]


def test_initial_image_by_default_is_uniform_noise(model, getkey):
    image = jax.random.uniform(getkey(), (1, 64, 64)) * 0.1
    start = plx.Metamer(image, model).initial_image(getkey())
    assert start.shape == image.shape
    assert 0 <= float(start.min()) < 0.01
    assert 0.99 < float(start.max()) <= 1
    assert abs(float(start.mean()) - 0.5) < 0.02


def test_the_same_key_gives_the_same_metamer(image, model):
    results = [quietly(image, model, key=jax.random.key(s), max_steps=5) for s in (3, 3, 4)]
    np.testing.assert_array_equal(results[0].image, results[1].image)
    assert not np.array_equal(results[0].image, results[2].image)
    assert results[0].trace.provenance["key"] == [0, 3]


def test_the_default_optimizer_is_amsgrad_at_one_hundredth(image, model, getkey):
    start = jax.random.uniform(getkey(), image.shape)
    result = quietly(image, model, initial_image=start, max_steps=1)
    moved = np.abs(np.asarray(result.image - start))
    # Where the gradient is of the order of Adam's epsilon, the first step is shorter.
    assert np.mean(np.abs(moved - 0.01) < 1e-5) > 0.95
    assert moved.max() < 0.01 + 1e-6
    np.testing.assert_allclose(result.trace.learning_rate, 0.01, rtol=1e-6)
    state = plx.init(result.problem, plx.amsgrad(0.01), initial_image=start)
    state, trace = plx.run(result.problem, plx.amsgrad(0.01), state, 8)
    np.testing.assert_allclose(
        quietly(image, model, initial_image=start, max_steps=8).trace.losses,
        trace.losses,
        rtol=1e-4,
    )


def test_warm_start_from_a_result_and_going_on(image, model, getkey):
    first = quietly(image, model, key=getkey(), max_steps=30)
    second = quietly(image, model, initial_image=first, max_steps=0)
    np.testing.assert_allclose(second.trace.losses[0], first.trace.losses[-1], rtol=1e-6)
    solver = plx.Solver(optax.adam(0.01))
    whole = quietly(image, model, key=jax.random.key(1), solver=solver, max_steps=20)
    part = quietly(image, model, key=jax.random.key(1), solver=solver, max_steps=12)
    state, more = plx.run(part.problem, solver, part.state, 8)
    result = plx.Result(part.problem, state, part.trace + more)
    np.testing.assert_array_equal(result.image, whole.image)
    np.testing.assert_array_equal(result.trace.losses, whole.trace.losses)


def test_checkpoints_resume_the_entry_function(image, model, getkey, tmp_path):
    key = getkey()
    options = {"key": key, "optimizer": optax.adam(0.01), "record": 5}
    whole = quietly(image, model, max_steps=30, **options)
    path = tmp_path / "metamer.npz"
    quietly(image, model, max_steps=11, checkpoint=path, **options)
    resumed = quietly(image, model, max_steps=30, checkpoint=path, **options)
    np.testing.assert_array_equal(resumed.image, whole.image)
    np.testing.assert_array_equal(resumed.trace.losses, whole.trace.losses)
    np.testing.assert_array_equal(resumed.trace.images, whole.trace.images)
    again = quietly(image, model, max_steps=30, checkpoint=path, **options)
    np.testing.assert_array_equal(again.image, whole.image)
    with pytest.raises(ValueError, match="another image"):
        quietly(image[:, ::-1], model, max_steps=30, checkpoint=path, **options)
    with pytest.raises(ValueError, match="another key"):
        quietly(image, model, max_steps=30, checkpoint=path, **{**options, "key": getkey()})


def test_a_second_image_does_not_recompile(model, getkey):
    @chex.assert_max_traces(n=5)
    def counted(image):
        return model(image)

    # Once for the target's representation, once for the step; twice to validate, later once.
    chex.clear_trace_counter()
    for max_steps in (3, 5):
        image = jax.random.uniform(getkey(), (1, 12, 12))
        quietly(image, counted, key=getkey(), max_steps=max_steps)


class Counted(eqx.Module):
    """A model that counts how often Python calls it."""

    bias: jax.Array
    calls: Any = eqx.field(static=True)

    def __call__(self, image):
        self.calls.number += 1
        return image**2 + self.bias


class Calls:
    number = 0


@pytest.mark.parametrize(
    ("pose", "first", "later"),
    [
        (lambda image, model: plx.validate.validate_model(model, image.shape), 2, 1),
        (plx.Metamer, 3, 1),
        (lambda image, model: plx.Geodesic(image, 1 - image, model), 3, 1),
        (lambda image, model: quietly(image, model, key=jax.random.key(0), max_steps=2), 4, 1),
    ],
    ids=["validate_model", "Metamer", "Geodesic", "metamer"],
)
def test_a_known_model_is_traced_once_in_each_posing(pose, first, later, getkey):
    calls = Calls()
    for bias, wanted in ((0.0, first), (0.0, later), (1.0, later)):
        calls.number = 0
        pose(jax.random.uniform(getkey(), (1, 12, 12)), Counted(jnp.asarray(bias), calls))
        assert calls.number == wanted


def test_parameters_of_the_model_get_no_update(image, model, getkey):
    result = quietly(image, model, key=getkey(), max_steps=5)
    assert eqx.tree_equal(result.problem.model, model)


@pytest.mark.parametrize(
    "parametrization", [plx.parametrize.Sigmoid(), plx.parametrize.Pixels(bounds=(0.0, 1.0))]
)
def test_parametrizations_keep_every_image_in_range(parametrization, image, model, getkey):
    result = quietly(
        jnp.round(image),
        model,
        key=getkey(),
        parametrization=parametrization,
        optimizer=optax.adam(0.1),
        max_steps=100,
        record=10,
    )
    assert result.trace.images.min() >= 0
    assert result.trace.images.max() <= 1
    assert result.trace.losses[-1] < 0.2 * result.trace.losses[0]
    assert result.trace.penalties.max() == 0


def test_an_initial_image_of_another_size_warns_and_works(image, getkey):
    def mean_and_variance(image):
        return jnp.stack([jnp.mean(image), jnp.var(image)])

    with pytest.warns(UserWarning, match="shape"):
        result = quietly(
            image, mean_and_variance, initial_image=jnp.linspace(0, 1, 63).reshape(1, 7, 9)
        )
    assert result.image.shape == (1, 7, 9)
    assert result.trace.losses[-1] < 1e-4
    with (
        pytest.warns(UserWarning, match="shape"),
        pytest.raises(ValueError, match="can be compared"),
    ):
        quietly(image, jnp.sin, initial_image=jnp.zeros((1, 7, 9)))


def test_sounds_and_volumes_are_images_too(getkey):
    def energies(signal):
        return jnp.abs(jnp.fft.rfftn(signal)) ** 2 / signal.size

    for shape in ((40,), (5, 6, 7)):
        target = jax.random.normal(getkey(), shape)
        result = quietly(
            target,
            energies,
            penalty_lambda=0.0,
            key=getkey(),
            solver=plx.Solver(plx.lbfgs(), stop=plx.stop.Never()),
            max_steps=300,
        )
        assert result.trace.losses[-1] < 1e-3 * result.trace.losses[0]


def test_metamers_in_float64(x64, getkey):
    image = jax.random.uniform(getkey(), (1, 12, 12), jnp.float64)
    # Narrow enough for its inverse to be well conditioned.
    model = plx.models.Gaussian(5, std=0.6)
    result = quietly(
        image,
        model,
        key=getkey(),
        solver=plx.Solver(plx.lbfgs(), stop=plx.stop.Never()),
        max_steps=400,
    )
    assert result.image.dtype == jnp.float64
    assert result.trace.losses[-1] < 1e-12


def test_a_model_of_nan_raises_with_the_result(image, getkey):
    bright = 0.6 + 0.4 * image
    with pytest.raises(plx.NonfiniteError) as caught:
        quietly(bright, lambda x: jnp.log(x - 0.5), initial_image=image, max_steps=3)
    result = caught.value.result
    assert isinstance(result, plx.Result)
    assert result.status == plx.Status.nonfinite
    assert result.solver is not None
    np.testing.assert_array_equal(result.image, image)


def test_a_target_that_the_model_makes_nan_of_is_refused(image):
    with pytest.raises(ValueError, match=r"must be finite, got \d+ infinite or NaN values of \d+"):
        plx.Metamer(image, lambda x: jnp.log(x - 0.5))
    with pytest.raises(ValueError, match=r"must be finite, got \d+ infinite or NaN values of \d+"):
        plx.eigendistortions(image, lambda x: jnp.log(x - 0.5), progress=False)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_images_have_finite_values_and_gradients(value, model):
    image = jnp.full((1, 12, 12), value)
    for loss in (plx.loss.mse, plx.loss.l2_norm, plx.loss.relative_sse):
        problem = plx.Metamer(image, model, loss)
        loss_value, gradient = jax.value_and_grad(problem.objective_function)(image)
        assert np.isfinite(loss_value)
        assert np.isfinite(gradient).all()


def test_bad_arguments_are_refused_with_a_sentence(image, model, unchecked, getkey):
    key = getkey()
    with pytest.raises(ValueError, match="key="):
        quietly(image, model)
    with pytest.raises(ValueError, match="both"):
        quietly(image, model, key=key, initial_image=image)
    with pytest.raises(ValueError, match="optimizer= and solver="):
        quietly(
            image, model, key=key, optimizer=optax.adam(1.0), solver=plx.Solver(optax.adam(1.0))
        )
    with pytest.raises(ValueError, match="num_seeds"):
        quietly(image[None], model, key=key, batch=True, num_seeds=2)
    with pytest.raises(TypeError, match="callable"):
        plx.Metamer(image, 3)
    with pytest.raises(TypeError, match="floating"):
        plx.Metamer(jnp.zeros((1, 4, 4), jnp.int32), model)
    with pytest.raises(TypeError, match="floating"):
        plx.Metamer("brick.png", model)
    with pytest.raises(ValueError, match="infinite"):
        plx.Metamer(image.at[0, 0, 0].set(jnp.inf), model)


def test_signatures_keep_the_fields_names_and_order():
    names = ["image", "model", "loss_function", "penalty_function", "penalty_lambda"]
    for function in (plx.Metamer, plx.metamer):
        parameters = inspect.signature(function).parameters
        assert list(parameters)[:5] == names
        for name, parameter in parameters.items():
            assert (parameter.kind is parameter.KEYWORD_ONLY) == (name not in names)


def test_result_reports_and_saves(image, model, getkey, tmp_path):
    result = quietly(image, model, key=getkey(), max_steps=3)
    report = str(result.report())
    assert "limit on the number of steps" in report
    assert "3, 3 evaluations" in report
    assert result.success is None
    result.save_image(tmp_path / "metamer.png")
    saved = plx.load_images(tmp_path / "metamer.png")
    np.testing.assert_allclose(saved, jnp.clip(result.image, 0, 1), atol=0.5 / 255 + 1e-6)
    with pytest.raises(TypeError, match="batch"):
        len(result)


def test_progress_bar_shows_what_plenoptics_shows(image, model, getkey, capsys):
    plx.metamer(image, model, key=getkey(), max_steps=5)
    shown = capsys.readouterr().err
    for name in ("loss=", "learning_rate=", "gradient_norm=", "pixel_change_norm="):
        assert name in shown


def test_problems_are_cast_like_any_tree(x64, getkey):
    image = jax.random.uniform(getkey(), (1, 12, 12), jnp.float32)
    problem = plx.Metamer(image, plx.models.Gaussian(5))

    def widen(leaf):
        return leaf.astype(jnp.float64) if eqx.is_inexact_array(leaf) else leaf

    wide = jax.tree.map(widen, problem)
    start = jnp.full((1, 12, 12), 0.5, jnp.float64)
    state, trace = plx.run(wide, plx.lbfgs(5), plx.init(wide, plx.lbfgs(5), initial_image=start), 5)
    assert state.z.dtype == jnp.float64
    narrow = plx.init(problem, plx.lbfgs(5), initial_image=start.astype(jnp.float32))
    narrow, _ = plx.run(problem, plx.lbfgs(5), narrow, 5)
    np.testing.assert_allclose(state.z, narrow.z, atol=1e-4)
