import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plenoptax import stop
from plenoptax.solve import amsgrad, batch, init, lbfgs, NonfiniteError, run, Solver, Status

from .problems import Cliff


def make(start, optimizer, limit=1.0):
    problem = Cliff(jnp.asarray([2.0, 0.0]), jnp.asarray(limit))
    solver = Solver(optimizer, stop=stop.Never())
    return problem, solver, init(problem, solver, initial_image=jnp.asarray(start))


@pytest.mark.parametrize("driver", ["host", "chunk"])
def test_walking_off_a_cliff_raises_and_keeps_everything(driver):
    problem, solver, start = make([0.0, 0.5], optax.sgd(0.1))
    with pytest.raises(NonfiniteError, match="step") as caught:
        run(problem, solver, start, 50, driver=driver)
    _, state, trace = caught.value.result
    assert state.status == Status.nonfinite
    assert np.isnan(trace.losses[-2])
    assert float(state.accepted_z[0]) <= 1
    np.testing.assert_allclose(trace.losses[-1], problem.objective(state.accepted_z, None)[0])
    assert np.isfinite(np.concatenate([state.accepted_z, state.z])).all()
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("optimizer", [optax.adam(0.1), lbfgs(), optax.lbfgs()])
def test_a_nonfinite_start_is_reported(optimizer):
    problem, solver, start = make([1.5, 0.5], optimizer)
    state, trace = run(problem, solver, start, 50, throw=False)
    assert state.status == Status.nonfinite
    assert len(trace) == 1
    np.testing.assert_array_equal(state.accepted_z, start.z)


def test_nonfinite_gradients_count_as_nonfinite():
    class Kink(Cliff):
        def objective(self, z, memory):
            return jnp.sum(jnp.sqrt(z - self.target)), {"penalty": jnp.zeros(())}

    problem = Kink(jnp.asarray([0.0, 0.0]), jnp.asarray(1.0))
    solver = Solver(optax.adam(0.1))
    start = init(problem, solver, initial_image=jnp.asarray([0.0, 1.0]))
    state, trace = run(problem, solver, start, 5, throw=False)
    assert np.isfinite(trace.losses[0])
    assert state.status == Status.nonfinite


@pytest.mark.parametrize(
    ("optimizer", "status"),
    [
        (optax.adam(0.1), Status.nonfinite),
        (optax.rmsprop(0.1), Status.nonfinite),
        (amsgrad(0.1), Status.step_limit),
        (lbfgs(), Status.step_limit),
    ],
)
def test_a_huge_objective_is_followed_or_refused(optimizer, status):
    class Huge(Cliff):
        def objective(self, z, memory):
            value, terms = super().objective(z, memory)
            return 1e21 * value, terms

    problem = Huge(jnp.asarray([0.5, 0.0]), jnp.asarray(10.0))
    solver = Solver(optimizer, stop=stop.Never())
    start = init(problem, solver, initial_image=jnp.asarray([3.0, 0.5]))
    state, trace = run(problem, solver, start, 20, throw=False)
    assert state.status == status
    np.testing.assert_allclose(trace.losses[0], 6.5e21, rtol=1e-6)
    np.testing.assert_allclose(trace.gradient_norm[0], 26**0.5 * 1e21, rtol=1e-6)
    if status == Status.step_limit:
        assert trace.losses[-1] < 0.5 * trace.losses[0]


def test_a_nonfinite_state_can_be_gone_on_with_by_another_optimizer():
    problem, solver, start = make([0.0, 0.5], optax.inject_hyperparams(optax.sgd)(0.3))
    state, _ = run(problem, solver, start, 50, throw=False)
    again = init(problem, lbfgs(), initial_image=state.accepted_z)
    again, trace = run(problem, lbfgs(), again, 3)
    assert trace.losses[0] <= problem.objective(start.z, None)[0]


def test_a_nonfinite_element_of_a_batch_fails_alone():
    limits = jnp.asarray([1.0, 10.0, 1.0])
    targets = jnp.asarray([[2.0, 0.0], [2.0, 0.0], [0.5, 0.0]])
    problems = batch(Cliff, targets, limits)
    solver = Solver(optax.sgd(0.1), stop=stop.Never())
    start = init(problems, solver, initial_image=jnp.asarray([0.0, 0.5]))
    state, traces = run(problems, solver, start, 40)
    assert [bool(s) for s in state.status == Status.nonfinite] == [True, False, False]
    assert len(traces[0]) < 40
    assert len(traces[1]) == len(traces[2]) == 40
    assert np.isfinite(traces[0].losses[-1])
    assert np.isfinite(traces[1].losses).all()
    assert float(state.accepted_z[0, 0]) <= 1


def test_a_batch_raises_only_if_all_fail():
    problems = batch(Cliff, jnp.asarray([[2.0, 0.0], [3.0, 0.0]]), jnp.asarray([1.0, 1.0]))
    solver = Solver(optax.sgd(0.1), stop=stop.Never())
    start = init(problems, solver, initial_image=jnp.asarray([0.0, 0.5]))
    with pytest.raises(NonfiniteError):
        run(problems, solver, start, 60)
