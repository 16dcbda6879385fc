import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plenoptax import stop
from plenoptax._progress import Interrupt
from plenoptax.solve import batch, init, Record, run, Solver, Status
from plenoptax.solve._run import _Session

from .problems import Quadratic, Staged


LIMIT = 30


def test_elements_of_a_batch_end_their_stages_one_by_one():
    problems = batch(
        lambda target: Staged(target, jnp.asarray(1e-6), jnp.asarray(LIMIT, jnp.int32)),
        jnp.asarray([[0.5, 0.5], [9.0, -9.0]]),
    )
    solver = Solver(optax.sgd(0.01), stop=stop.Never())
    # The first is at its target from the start.
    start = init(problems, solver, initial_image=jnp.asarray([0.5, 0.5]))
    whole, traces = run(problems, solver, start, None, driver="host")
    stages = [np.bincount(trace.terms["stage"][:-1]).tolist() for trace in traces.elements]
    assert stages == [[1, 1, LIMIT], [LIMIT, LIMIT, LIMIT]]
    assert (whole.status == Status.step_limit).all()
    # Cut before the first ends, and after step 64, in which it is left out.
    for cut in (20, 70):
        # The host is asked for an image every ten steps.
        session = _Session(problems, solver, start, None, Record(every=10), "host")
        with Interrupt() as interrupt:
            while session._counts("num_steps")[1] != cut:
                session.advance(interrupt)
        state, first = session.finish(Status.running, None)
        assert (state.status == Status.running).tolist() == [cut == 20, True]
        end, second = run(problems, solver, state, None, driver="host")
        assert eqx.tree_equal(end, whole)
        for one, other, trace in zip(first.elements, second.elements, traces.elements, strict=True):
            np.testing.assert_array_equal((one + other).losses, trace.losses)


def test_a_run_without_a_total_needs_stages_with_a_limit(unchecked):
    solver = Solver(optax.sgd(0.01), stop=stop.Never())
    target = jnp.ones((2,))
    for problem in (Quadratic(target, target), Staged(target, jnp.asarray(0.0), None)):
        state = init(problem, solver, initial_image=target)
        with pytest.raises(ValueError, match="max_steps must be a whole number, unless .* stages"):
            run(problem, solver, state, None)
