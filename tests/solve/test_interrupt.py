import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plenoptax import stop
from plenoptax._progress import Interrupt
from plenoptax.solve import init, run, Solver, Status

from .problems import Quadratic


class Slow(Quadratic):
    """A problem whose evaluation takes some milliseconds."""

    def objective(self, z, memory):
        value = jnp.sum((z - self.target) ** 2)
        busy = jax.lax.fori_loop(0, 300, lambda _, x: jnp.tanh(x @ x), jnp.eye(40))
        return value + 0 * jnp.sum(busy), {"penalty": jnp.zeros(())}


def make(getkey):
    problem = Slow(jax.random.uniform(getkey(), (3, 3)), jnp.ones((3, 3)))
    solver = Solver(optax.adam(0.001), stop=stop.Never())
    start = init(problem, solver, key=getkey())
    return problem, solver, start


@pytest.mark.parametrize("driver", ["host", "chunk"])
def test_ctrl_c_returns_the_steps_that_were_taken(driver, getkey):
    problem, solver, start = make(getkey)
    run(problem, solver, start, 5, driver=driver)
    handler = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    state, trace = run(problem, solver, start, 10**7, driver=driver)
    timer.join()
    assert state.status == Status.interrupted
    assert 0 < len(trace) < 10**7
    assert int(state.num_steps) == len(trace)
    assert signal.getsignal(signal.SIGINT) is handler
    wanted, reference = run(problem, solver, start, len(trace), driver=driver)
    np.testing.assert_array_equal(state.z, wanted.z)
    np.testing.assert_array_equal(trace.losses, reference.losses)


def test_ctrl_c_before_the_first_step_does_not_wait_for_the_compiler(getkey):
    traced = []

    class Interrupting(Quadratic):
        def objective(self, z, memory):
            # A check of the problem traces it once, the run once more, and then compiles it.
            traced.append(len(traced))
            if is_running:
                signal.raise_signal(signal.SIGINT)
            return super().objective(z, memory)

    is_running = False
    problem = Interrupting(jnp.ones((3, 3)), jnp.ones((3, 3)))
    solver = Solver(optax.adam(0.001), stop=stop.Never())
    start = init(problem, solver, key=getkey())
    is_running, before = True, len(traced)
    with pytest.raises(KeyboardInterrupt):
        run(problem, solver, start, 10)
    assert len(traced) == before + 1


def test_a_second_ctrl_c_insists():
    handler = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert not interrupt.is_set()
        signal.raise_signal(signal.SIGINT)
        assert interrupt.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler


def test_runs_outside_the_main_thread_leave_ctrl_c_alone(getkey):
    problem, solver, start = make(getkey)
    results = []
    thread = threading.Thread(target=lambda: results.append(run(problem, solver, start, 3)))
    thread.start()
    thread.join()
    assert len(results[0][1]) == 3
