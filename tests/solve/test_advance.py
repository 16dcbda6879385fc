import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plenoptax import stop
from plenoptax.solve import (
    AbstractOptimizer,
    advance,
    batch,
    BestSoFar,
    init,
    lbfgs,
    Outcome,
    Record,
    run,
    Solver,
    Status,
    step,
)

from .problems import Quadratic, Staged


def make(key, optimizer=None, rule=None):
    keys = jax.random.split(key)
    problem = Quadratic(
        jax.random.uniform(keys[0], (3, 4)), 1 + 20 * jax.random.uniform(keys[1], (3, 4))
    )
    return problem, Solver(optimizer or optax.adam(0.05), stop=rule or stop.Never())


@pytest.mark.parametrize("optimizer", [optax.adam(0.05), lbfgs(5)])
def test_advance_takes_the_steps_of_run(optimizer, getkey):
    problem, solver = make(getkey(), optimizer)
    start = init(problem, solver, key=getkey())
    wanted, trace = run(problem, solver, start, 17, driver="chunk")
    state, infos = eqx.filter_jit(advance)(problem, solver, start, 17)
    np.testing.assert_array_equal(infos.loss, trace.losses[:-1])
    np.testing.assert_array_equal(infos.accepted, trace.accepted)
    np.testing.assert_array_equal(infos.gradient_norm, trace.gradient_norm)
    np.testing.assert_array_equal(state.z, wanted.z)
    assert int(state.num_steps) == 17
    assert state.status == Status.running


def test_advance_goes_on_from_a_run_and_from_itself(getkey):
    problem, solver = make(getkey())
    start = init(problem, solver, key=getkey())
    whole, infos = advance(problem, solver, start, 12)
    middle, _ = run(problem, solver, start, 5)
    assert middle.status == Status.step_limit
    end, rest = advance(problem, solver, middle, 7)
    np.testing.assert_array_equal(rest.loss, infos.loss[5:])
    np.testing.assert_array_equal(end.z, whole.z)
    first, _ = advance(problem, solver, start, 4)
    second, _ = advance(problem, solver, first, 8)
    assert eqx.tree_equal(second, whole)


def test_advance_ends_where_nothing_runs(getkey):
    problem, solver = make(getkey(), rule=stop.LossChange(0.5, window=4))
    start = init(problem, solver, key=getkey())
    wanted, trace = run(problem, solver, start, 500, driver="chunk")
    state, infos = advance(problem, solver, start, 500)
    assert 4 < len(trace) < 500
    assert int(state.num_steps) == len(trace)
    assert state.status == Status.plateau
    np.testing.assert_array_equal(infos.loss[: len(trace)], trace.losses[:-1])
    assert not infos.loss[len(trace) :].any()
    again, nothing = advance(problem, solver, state, 3)
    assert eqx.tree_equal(again, state)
    assert not nothing.loss.any()
    assert wanted.status == Status.plateau


def test_advance_and_step_are_mapped_and_scanned(getkey):
    problem, solver = make(getkey(), rule=stop.LossChange(0.2, window=4))
    images = jax.random.uniform(getkey(), (3, 3, 4)) * jnp.asarray([0.1, 1.0, 5.0])[:, None, None]
    starts = jax.vmap(lambda image: init(problem, solver, initial_image=image))(images)
    mapped, infos = jax.vmap(lambda state: advance(problem, solver, state, 30))(starts)
    stepped, rows = jax.vmap(lambda s: step(problem, solver, s))(starts)
    scanned, losses = jax.lax.scan(
        lambda state, _: (lambda pair: (pair[0], pair[1].loss))(step(problem, solver, state)),
        jax.tree.map(lambda leaf: leaf[0], starts),
        length=9,
    )
    assert len(set(mapped.num_steps.tolist())) > 1
    for index, image in enumerate(images):
        start = init(problem, solver, initial_image=image)
        alone, own = advance(problem, solver, start, 30)
        np.testing.assert_allclose(mapped.z[index], alone.z, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(infos.loss[index], own.loss, rtol=1e-4, atol=1e-6)
        assert int(mapped.num_steps[index]) == int(alone.num_steps)
        np.testing.assert_allclose(rows.loss[index], own.loss[0], rtol=1e-5)
        one, _ = step(problem, solver, start)
        np.testing.assert_allclose(stepped.z[index], one.z, rtol=1e-5, atol=1e-6)
        if index == 0:
            np.testing.assert_allclose(losses, own.loss[:9], rtol=1e-4)
    assert int(scanned.num_steps) == 9


def test_a_batch_advances_as_its_elements(getkey):
    targets = jax.random.uniform(getkey(), (3, 3, 4))
    problems = batch(lambda target: Quadratic(target, jnp.ones_like(target)), targets)
    solver = Solver(optax.adam(0.05), stop=stop.LossChange(0.3, window=4))
    start = init(problems, solver, key=getkey())
    state, infos = advance(problems, solver, start, 20)
    assert infos.loss.shape == (20, 3)
    for index in range(3):
        alone = jax.tree.map(lambda leaf, i=index: leaf[i], start)
        alone, own = advance(problems[index], solver, alone, 20)
        np.testing.assert_allclose(state.z[index], alone.z, rtol=1e-5)
        assert int(state.num_steps[index]) == int(alone.num_steps)
        taken = int(alone.num_steps)
        np.testing.assert_allclose(infos.loss[:taken, index], own.loss[:taken], rtol=1e-4)


def test_a_batch_on_one_device_is_computed_as_its_elements_are_alone(getkey):
    # Even and odd numbers of elements, some of which stop early.
    sizes = jnp.asarray([1.0, 9.0, 3.0])[:, None, None]
    targets = jax.random.uniform(getkey(), (3, 3, 4)) * sizes
    solver = Solver(lbfgs(4), stop=stop.LossChange(1e-3, window=5))
    images = jax.random.uniform(getkey(), targets.shape)
    for number in (3, 2):
        problems = batch(lambda t: Quadratic(t, 1 + t), targets[:number])
        start = init(problems, solver, initial_image=images[:number])
        state, traces = run(problems, solver, start, 60)
        for index in range(number):
            alone = init(problems[index], solver, initial_image=images[index])
            alone, trace = run(problems[index], solver, alone, 60)
            np.testing.assert_array_equal(traces[index].losses, trace.losses)
            np.testing.assert_array_equal(state.accepted_z[index], alone.accepted_z)


def test_elements_that_stop_at_different_steps_compile_nothing(getkey):
    traced = []

    class Counted(Quadratic):
        def objective(self, z, memory):
            traced.append(z)
            return jnp.sum((z - self.target) ** 2), {"penalty": jnp.zeros(())}

    targets = jnp.linspace(0.1, 300, 8)[:, None] * jnp.ones((8, 6))
    problems = batch(lambda target: Counted(target, target), targets)
    solver = Solver(optax.adam(1.0), stop=stop.LossChange(1e-2, window=5))
    start = init(problems, solver, initial_image=jnp.zeros((6,)))
    counts = []
    for max_steps in (1, 700):
        state, _ = run(problems, solver, start, max_steps)
        counts.append(len(traced))
    assert len(set(state.num_steps.tolist())) > 5
    assert counts[0] == counts[1]


class Frozen(eqx.Module):
    """What a transformation of a user might remember."""

    accepted: jax.Array
    exhausted: jax.Array
    learning_rate: jax.Array


def test_names_in_the_state_of_a_transformation_mean_nothing(getkey):
    def start(params):
        return Frozen(jnp.zeros((), bool), jnp.ones((), bool), jnp.full((), 7.0))

    def update(updates, state, params=None):
        return jax.tree.map(lambda g: -0.01 * g, updates), state

    transformation = optax.GradientTransformation(start, update)
    problem, solver = make(getkey(), transformation)
    state, trace = run(problem, solver, init(problem, solver, key=getkey()), 20)
    assert trace.accepted.all()
    assert len(trace) == 20
    assert trace.losses[-1] < 0.5 * trace.losses[0]
    assert np.isnan(trace.learning_rate).all()


def test_the_best_of_stages_is_that_of_the_last():
    # The first stage has the smallest losses: its weight is a third of the last one's.
    problem = Staged(jnp.zeros((2,)), jnp.asarray(-1.0), jnp.asarray(5, jnp.int32))
    solver = Solver(optax.sgd(-0.01), stop=stop.Never())
    start = init(problem, solver, initial_image=jnp.ones((2,)))
    _, trace = run(problem, solver, start, 14, record=Record(every=1, best=True))
    last = np.flatnonzero(trace.terms["stage"] == 2)[0]
    assert trace.losses.argmin() == 0
    assert trace.best_loss == trace.losses[last]
    np.testing.assert_array_equal(trace.best_image, trace.images[last])
    _, early = run(problem, solver, start, 7, record=Record(best=True))
    assert early.best_image is None
    assert np.isinf(early.best_loss)


def test_a_state_holds_a_second_image_only_for_the_best(getkey):
    problem, solver = make(getkey(), optax.sgd(0.09, momentum=0.6))
    start = init(problem, solver, key=getkey())
    state, trace = run(problem, solver, start, 30, record=Record(best=True))
    assert state.best is None
    kept = init(problem, BestSoFar(solver), initial_image=start.z)
    kept, _ = run(problem, BestSoFar(solver), kept, 30)
    assert kept.best.loss == trace.best_loss
    np.testing.assert_array_equal(kept.best.z, trace.best_image)
    assert eqx.tree_equal(dataclasses.replace(kept, best=None), state)


class Halving(AbstractOptimizer):
    """Gradient descent that goes back and halves its rate where the value has grown.

    Its state begins with numbers of Python, and its outcome holds some.
    """

    def init(self, z):
        return {"best": np.inf, "rate": 3.0, "z": z, "gradient": jax.tree.map(jnp.zeros_like, z)}

    def update(self, gradient, state, z, *, value, value_fn):
        here = {"best": value, "rate": state["rate"], "z": z, "gradient": gradient}
        back = {**state, "rate": state["rate"] / 2}
        is_less = value < state["best"]
        new = jax.tree.map(lambda a, b: jnp.where(is_less, a, b.astype(a.dtype)), here, back)
        updates = jax.tree.map(lambda x, g, old: x - new["rate"] * g - old, new["z"], gradient, z)
        outcome = Outcome(
            accepted=is_less, exhausted=False, finite=True, num_evaluations=1, learning_rate=0.5
        )
        return updates, new, outcome

    def restart(self, state, z, accepted_z):
        return accepted_z, self.init(accepted_z)


@pytest.mark.parametrize("wide", [False, True])
def test_an_optimizer_of_ones_own_may_keep_numbers_of_python(wide, getkey):
    with jax.enable_x64(wide), jax.numpy_dtype_promotion("standard"):
        target = jax.random.normal(getkey(), (3,), jnp.float32)
        problem = Quadratic(target, jnp.ones_like(target))
        solver = Solver(Halving(), stop=stop.Never())
        start = init(problem, solver, initial_image=jnp.zeros(3, jnp.float32))
        end, infos = advance(problem, solver, start, 30)
    assert 5 < infos.accepted.sum() < 30
    assert end.accepted_loss < 1e-3 * infos.loss[0]
    types = [[leaf.dtype for leaf in jax.tree.leaves(state)] for state in (start, end)]
    assert types[0] == types[1]
    np.testing.assert_array_equal(infos.learning_rate, np.full(30, 0.5))


def test_an_optimizer_or_a_solver_is_wanted(getkey, unchecked):
    problem, _ = make(getkey())
    with pytest.raises(TypeError, match="optax transformation"):
        init(problem, "adam", key=getkey())
    with pytest.raises(ValueError, match="load_result"):
        init(problem, None, key=getkey())
