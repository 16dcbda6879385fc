import dataclasses
import functools as ft

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plenoptax import stop
from plenoptax.solve import init, lbfgs, Record, run, Solver, Status, step

from .problems import Counted, Quadratic, SmallNetwork


OPTIMIZERS = {
    "adam": lambda: optax.adam(0.05),
    "amsgrad": lambda: optax.inject_hyperparams(optax.amsgrad)(learning_rate=0.05),
    "cosine schedule": lambda: optax.adam(optax.cosine_decay_schedule(0.1, 70)),
    "plateau schedule": lambda: optax.chain(
        optax.adam(0.05), optax.contrib.reduce_on_plateau(factor=0.5, patience=3, cooldown=2)
    ),
    "momentum": lambda: optax.sgd(0.01, momentum=0.9),
    "lbfgs": lbfgs,
    "optax lbfgs": optax.lbfgs,
}


def make_quadratic(getkey, shape=(1, 6, 7)):
    return Quadratic(
        jax.random.uniform(getkey(), shape), 1 + 20 * jax.random.uniform(getkey(), shape)
    )


@pytest.mark.parametrize("driver", ["host", "chunk"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_run_is_resumed_bit_for_bit(name, driver, getkey):
    problem, make = make_quadratic(getkey), OPTIMIZERS[name]
    solver = Solver(make(), stop=stop.Never())
    start = init(problem, solver, key=getkey())
    whole, trace = run(problem, solver, start, 60, driver=driver, record=7)
    state, first = run(problem, solver, start, 23, driver=driver, record=7)
    state, second = run(
        problem, Solver(make(), stop=stop.Never()), state, 37, driver=driver, record=7
    )
    assert eqx.tree_equal(whole, state)
    joined = first + second
    for name in ("losses", "penalties", "gradient_norm", "pixel_change_norm", "learning_rate"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(trace, name))
    np.testing.assert_array_equal(joined.image_steps, trace.image_steps)
    np.testing.assert_array_equal(joined.images, trace.images)


def test_run_is_resumed_with_memory_terms_and_constraints(getkey):
    problem = Counted(jax.random.uniform(getkey(), (2, 5, 5)) * 2 - 0.5)
    solver = Solver(optax.adam(0.02), stop=stop.Never())
    start = init(problem, solver, key=getkey())
    whole, trace = run(problem, solver, start, 40)
    state, first = run(problem, solver, start, 11)
    state, second = run(problem, solver, state, 29)
    assert eqx.tree_equal(whole, state)
    np.testing.assert_allclose(trace.terms["weight"], 1 + np.arange(41) / 100, rtol=1e-6)
    np.testing.assert_array_equal((first + second).terms["weight"], trace.terms["weight"])
    image = problem.decode(state.accepted_z)
    assert image.min() >= 0
    assert image.max() <= 1


def test_run_with_x64_keeps_float64(x64, getkey):
    problem = Quadratic(
        jax.random.uniform(getkey(), (3, 4), jnp.float64), jnp.full((3, 4), 2.0, jnp.float64)
    )
    for optimizer in (lbfgs(), optax.adam(0.1)):
        solver = Solver(optimizer, stop=stop.Never())
        state, trace = run(problem, solver, init(problem, solver, key=getkey()), 400)
        assert state.z.dtype == jnp.float64
        assert trace.losses.dtype == np.float64
        assert trace.losses[-1] < 1e-13


def test_run_with_x64_keeps_float32_images(x64, getkey):
    problem = Quadratic(
        jax.random.uniform(getkey(), (3, 4), jnp.float32), jnp.full((3, 4), 2.0, jnp.float32)
    )
    for make in OPTIMIZERS.values():
        solver = Solver(make())
        state, trace = run(problem, solver, init(problem, solver, key=getkey()), 5)
        assert state.z.dtype == jnp.float32
        assert trace.losses.dtype == np.float32


@pytest.mark.parametrize("driver", ["host", "chunk"])
@pytest.mark.parametrize("make", [lambda: optax.adam(0.05), lbfgs])
def test_losses_are_those_before_each_update(make, driver, getkey):
    problem = make_quadratic(getkey)
    solver = Solver(make(), stop=stop.Never())
    start = init(problem, solver, key=getkey())
    state, trace = run(problem, solver, start, 12, record=1, driver=driver)
    assert trace.losses.shape == trace.penalties.shape == (13,)
    assert trace.gradient_norm.shape == trace.pixel_change_norm.shape == (12,)
    np.testing.assert_array_equal(trace.image_steps, np.arange(12))
    for image, loss, penalty in zip(trace.images, trace.losses, trace.penalties, strict=False):
        value, terms = problem.objective(jnp.asarray(image), None)
        np.testing.assert_allclose(value, loss, rtol=1e-6)
        np.testing.assert_allclose(terms["penalty"], penalty, rtol=1e-6)
    returned, _ = problem.objective(state.accepted_z, None)
    np.testing.assert_allclose(returned, trace.losses[-1], rtol=1e-6)
    np.testing.assert_allclose(state.accepted_loss, trace.losses[-1], rtol=1e-6)
    changes = np.linalg.norm(np.diff(trace.images, axis=0).reshape(11, -1), axis=1)
    np.testing.assert_allclose(trace.pixel_change_norm[:11], changes, rtol=1e-4)
    gradient = jax.grad(lambda z: problem.objective(z, None)[0])(jnp.asarray(trace.images[3]))
    np.testing.assert_allclose(trace.gradient_norm[3], jnp.linalg.norm(gradient), rtol=1e-5)


def test_the_returned_image_is_the_last_accepted_one(getkey):
    # From far away the first L-BFGS steps overshoot, so that some run ends on a rejected trial.
    problem = Quadratic(jnp.zeros((4,)), jnp.asarray([1.0, 30.0, 900.0, 27000.0]))
    solver = Solver(lbfgs(), stop=stop.Never())
    start = init(problem, solver, initial_image=jnp.asarray([3.0, -2.0, 1.0, 4.0]))
    ended_on_a_rejected_trial = False
    for max_steps in range(1, 15):
        state, trace = run(problem, solver, start, max_steps)
        _, info = step(problem, solver, state)
        ended_on_a_rejected_trial |= not bool(info.accepted)
        accepted = np.append(trace.losses[:-1][trace.accepted], trace.losses[-1])
        assert np.all(np.diff(accepted) <= 0)
        value, _ = problem.objective(state.accepted_z, None)
        np.testing.assert_allclose(value, trace.losses[-1], rtol=1e-6)
    assert ended_on_a_rejected_trial


def test_run_leaves_the_callers_state_alone(getkey):
    problem = make_quadratic(getkey)
    solver = Solver(optax.adam(0.1))
    start = init(problem, solver, key=getkey())
    before = jax.tree.map(np.array, start)
    for driver in ("host", "chunk"):
        run(problem, solver, start, 3, driver=driver)
        assert eqx.tree_equal(before, jax.tree.map(np.array, start))


def test_run_of_no_steps_evaluates_the_start(getkey):
    problem = make_quadratic(getkey)
    solver = Solver(lbfgs())
    start = init(problem, solver, key=getkey())
    state, trace = run(problem, solver, start, 0)
    assert len(trace) == 0
    np.testing.assert_allclose(trace.losses, [problem.objective(start.z, None)[0]], rtol=1e-6)
    assert int(state.num_steps) == 0


def test_status_says_why_the_run_ended(getkey):
    problem = make_quadratic(getkey)
    solver = Solver(optax.adam(0.1), stop=stop.LossChange(1e-3, window=10))
    state, trace = run(problem, solver, init(problem, solver, key=getkey()), 5)
    assert state.status == Status.step_limit
    state, trace = run(problem, solver, state, 5000)
    assert state.status == Status.plateau
    assert len(trace) < 5000
    again, more = run(problem, solver, state, 100)
    assert again.status == Status.plateau
    assert len(more) == 0
    stricter = Solver(optax.adam(0.1), stop=stop.LossChange(1e-9, window=10))
    again, more = run(problem, stricter, state, 7)
    assert len(more) == 7


def test_one_trace_serves_every_target_limit_tolerance_and_learning_rate(getkey):
    @chex.assert_max_traces(n=1)
    def objective(z, target):
        return jnp.sum((z - target) ** 2)

    class Traced(Quadratic):
        def objective(self, z, memory):
            return objective(z, self.target), {"penalty": jnp.zeros(())}

    chex.clear_trace_counter()
    shape = (1, 5, 5)
    for seed, max_steps in ((0, 3), (1, 130), (2, 40)):
        target = jax.random.uniform(jax.random.key(seed), shape)
        problem = Traced(target, jnp.ones(shape))
        rate = jnp.asarray(0.01 * (seed + 1))
        solver = Solver(optax.adam(rate), stop=stop.LossChange(10.0 ** -(seed + 4), window=20))
        state = init(problem, solver, key=getkey())
        state, _ = run(problem, solver, state, max_steps, driver="chunk")
        run(problem, solver, state, max_steps, driver="chunk", progress=False)


@pytest.mark.parametrize("driver", ["host", "chunk"])
def test_best_image_is_that_of_the_smallest_accepted_loss(driver, getkey):
    problem = make_quadratic(getkey)
    solver = Solver(optax.sgd(0.095, momentum=0.5), stop=stop.Never())
    start = init(problem, solver, key=getkey())
    record = Record(every=1, best=True)
    _, trace = run(problem, solver, start, 9, record=record, driver=driver)
    smallest = int(np.argmin(trace.losses[:-1]))
    assert trace.best_loss == pytest.approx(trace.losses.min(), rel=1e-6)
    if trace.losses[smallest] < trace.losses[-1]:
        np.testing.assert_array_equal(trace.best_image, trace.images[smallest])
    state, first = run(problem, solver, start, 4, record=record, driver=driver)
    _, second = run(problem, solver, state, 5, record=record, driver=driver)
    joined = first + second
    assert joined.best_loss == trace.best_loss
    np.testing.assert_array_equal(joined.best_image, trace.best_image)


def test_driver_is_the_hosts_only_where_the_model_convolves_channels(getkey):
    class Network(Quadratic):
        network: SmallNetwork

        def objective(self, z, memory):
            return jnp.sum(self.network(z) ** 2), {"penalty": jnp.zeros(())}

    target = jax.random.uniform(getkey(), (1, 12, 12))
    solver = Solver(optax.adam(0.01))
    convolving = Network(target, jnp.ones_like(target), SmallNetwork(key=getkey()))
    for problem, wanted in (
        (convolving, "host"),
        (Quadratic(target, jnp.ones_like(target)), "chunk"),
    ):
        _, trace = run(problem, solver, init(problem, solver, key=getkey()), 1)
        assert trace.provenance["driver"] == wanted


def test_learning_rate_is_shown_where_the_optimizer_exposes_one(getkey):
    problem = make_quadratic(getkey)
    start = ft.partial(init, problem, key=getkey())

    def rates(optimizer, steps=30):
        solver = Solver(optimizer, stop=stop.Never())
        return run(problem, solver, start(solver), steps)[1].learning_rate

    inject = optax.inject_hyperparams
    np.testing.assert_allclose(rates(inject(optax.sgd)(learning_rate=0.01)), 0.01, rtol=1e-6)
    schedule = optax.exponential_decay(0.05, 1, 0.9)
    wanted = 0.05 * 0.9 ** np.arange(30)
    np.testing.assert_allclose(rates(inject(optax.adam)(schedule)), wanted, rtol=1e-4)
    falling = rates(
        optax.chain(
            inject(optax.sgd)(learning_rate=0.09),
            optax.contrib.reduce_on_plateau(factor=0.5, patience=2, rtol=0.5),
        ),
        60,
    )
    assert falling[-1] < falling[0]
    assert np.all(np.isnan(rates(optax.sgd(0.01))))


def test_evaluations_of_line_searches_are_counted(getkey):
    problem = make_quadratic(getkey)
    solver = Solver(optax.lbfgs(), stop=stop.Never())
    state, trace = run(problem, solver, init(problem, solver, key=getkey()), 6)
    assert int(state.num_evaluations) == trace.num_evaluations.sum() > 6
    assert trace.provenance["num_evaluations"] == trace.num_evaluations.sum()
    solver = Solver(lbfgs(), stop=stop.Never())
    state, trace = run(problem, solver, init(problem, solver, key=getkey()), 6)
    assert int(state.num_evaluations) == 6


def test_a_state_of_another_problem_or_solver_is_refused_by_path(unchecked, getkey):
    problem = make_quadratic(getkey)
    adam, quasi_newton = Solver(optax.adam(0.1)), Solver(lbfgs())
    state = init(problem, adam, key=getkey())
    with pytest.raises(ValueError, match=r"optimizer_state"):
        run(problem, quasi_newton, state, 3)
    with pytest.raises(ValueError, match=r"stop_state"):
        step(problem, Solver(optax.adam(0.1), stop=stop.LossChange(window=7)), state)
    wrong = dataclasses.replace(state, num_steps=jnp.zeros((), jnp.float32))
    with pytest.raises(ValueError, match=r"\.num_steps must be int32.*float32"):
        step(problem, adam, wrong)


@pytest.mark.parametrize("max_steps", [-1, 2.5, True, None])
def test_bad_step_limits_are_refused(max_steps, unchecked, getkey):
    problem = make_quadratic(getkey)
    state = init(problem, optax.adam(0.1), key=getkey())
    with pytest.raises(ValueError, match="max_steps"):
        run(problem, optax.adam(0.1), state, max_steps)


def test_bad_arguments_are_refused(unchecked, getkey):
    problem = make_quadratic(getkey)
    state = init(problem, optax.adam(0.1), key=getkey())
    with pytest.raises(TypeError, match="optax"):
        Solver(0.1)
    with pytest.raises(TypeError, match="stop must be a rule"):
        Solver(optax.adam(0.1), stop=1e-4)
    with pytest.raises(ValueError, match="driver"):
        run(problem, optax.adam(0.1), state, 3, driver="fast")
    with pytest.raises(ValueError, match="every"):
        run(problem, optax.adam(0.1), state, 3, record=-2)
    with pytest.raises(ValueError, match="window"):
        stop.LossChange(window=0)


def test_init_errors_say_what_to_do(unchecked, getkey):
    problem = make_quadratic(getkey)
    optimizer = optax.adam(0.1)
    image = jnp.zeros((1, 6, 7))
    with pytest.raises(ValueError, match="neither"):
        init(problem, optimizer)
    with pytest.raises(ValueError, match="both"):
        init(problem, optimizer, key=getkey(), initial_image=image)
    with pytest.raises(TypeError, match="list"):
        init(problem, optimizer, initial_image=[[1.0]])
    with pytest.raises(TypeError, match="floating"):
        init(problem, optimizer, initial_image=jnp.zeros((1, 6, 7), jnp.int32))
    with pytest.raises(TypeError, match="float16"):
        init(problem, optimizer, initial_image=image.astype(jnp.float16))
    with pytest.raises(ValueError, match="infinite"):
        init(problem, optimizer, initial_image=image.at[0, 0, 0].set(jnp.nan))
    with (
        pytest.warns(UserWarning, match="shape"),
        pytest.raises(ValueError, match="can be compared"),
    ):
        init(problem, optimizer, initial_image=jnp.zeros((1, 5, 5)))


def test_schedules_with_unset_variables(getkey):
    problem = make_quadratic(getkey)
    # A variable of this schedule's closure never gets a value, for there is no end value.
    optimizer = optax.adam(optax.exponential_decay(0.1, 10, 0.5))
    state = init(problem, optimizer, key=getkey())
    _, trace = run(problem, optimizer, state, 20)
    assert trace.losses[-1] < trace.losses[0]
