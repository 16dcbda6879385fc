import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from plenoptax import stop
from plenoptax.solve import batch, init, lbfgs, run, Solver, Status

from .problems import Quadratic


SOLVER = Solver(lbfgs(20), stop=stop.Never())


class Scaled(Quadratic):
    """Rosenbrock's function of the elements, in the mean and times a factor."""

    factor: Float[Array, ""]

    def objective(self, z, memory):
        z = self.curvature * z
        value = jnp.mean(100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2)
        return self.factor * value, {"penalty": jnp.zeros(())}


def minimize(factors, max_steps):
    factors = jnp.asarray(factors, float)
    curvature = jnp.linspace(0.5, 2, 12, dtype=factors.dtype)
    problems = batch(lambda factor: Scaled(curvature, curvature, factor), factors)
    state = init(problems, SOLVER, initial_image=jnp.full((12,), -0.7, factors.dtype))
    return run(problems, SOLVER, state, max_steps)


def test_the_unit_of_the_objective_changes_no_bit():
    factors = np.exp2(np.asarray([0, -40, -9, 1, 30, 66]))
    state, traces = minimize(factors, 100)
    assert not traces[0].accepted.all()
    assert traces[0].losses[-1] < 1e-3 * traces[0].losses[0]
    for factor, z, trace in zip(factors, state.z, traces, strict=True):
        np.testing.assert_array_equal(z, state.z[0])
        np.testing.assert_array_equal(trace.losses / factor, traces[0].losses)
        np.testing.assert_array_equal(trace.gradient_norm / factor, traces[0].gradient_norm)


def test_the_unit_of_the_objective_changes_no_bit_of_double_precision(x64):
    factors = np.exp2(np.asarray([0, -400, 66, 600]))
    state, _ = minimize(factors, 60)
    for z in state.z:
        np.testing.assert_array_equal(z, state.z[0])


def test_factors_that_round_and_that_overflow_squares_change_little():
    factors = [1, 0.3, 7, 1e5, 1e21, 1e-25]
    state, traces = minimize(factors, 30)
    assert bool((state.status == Status.step_limit).all())
    for factor, trace in zip(factors, traces, strict=True):
        np.testing.assert_allclose(trace.losses[-1] / factor, traces[0].losses[-1], rtol=0.01)


def test_the_first_step_follows_the_point_and_not_the_gradient():
    optimizer, direction = lbfgs(3), np.linspace(-1, 0.5, 16, dtype=np.float32)
    value, update = jnp.asarray(1.0, jnp.float32), jax.jit(optimizer.update)
    # A thousandth of the norm of 16 elements, at least 1.
    for size, wanted in ((0.5, 1), (0, 1), (1e6, 4e3)):
        point = jnp.full((16,), size, jnp.float32)
        for length in (1e-30, 1, 1e25):
            gradient = jnp.asarray(length * direction)
            step, _, _ = update(gradient, optimizer.init(point), point, value=value)
            np.testing.assert_allclose(
                step,
                -wanted * direction / np.linalg.norm(direction),
                rtol=1e-3,
                atol=0.1 * size / 1e6,
            )


class Quartic(Quadratic):
    """Its gradient vanishes with the third power of the distance."""

    def objective(self, z, memory):
        return jnp.sum((z - self.target) ** 4), {"penalty": jnp.zeros(())}


class Well(Quadratic):
    """Its gradient is all but nothing far from the target."""

    def objective(self, z, memory):
        distance = jnp.sum(self.curvature * (z - self.target) ** 2)
        return -jnp.exp(-distance), {"penalty": jnp.zeros(())}


def test_a_gradient_may_fall_by_many_orders_of_magnitude():
    problem = Quartic(jnp.zeros(4), jnp.ones(4))
    start = jnp.asarray([1e4, -3e3, 1e3, 1e2])
    state, trace = run(problem, SOLVER, init(problem, SOLVER, initial_image=start), 120)
    assert trace.gradient_norm[-1] < 1e-24 * trace.gradient_norm[0]
    assert trace.accepted.mean() > 0.8


def test_a_gradient_may_grow_by_many_orders_of_magnitude():
    problem = Well(jnp.asarray([0.3, 0.7]), jnp.asarray([1.0, 2.0]))
    start = jnp.asarray([7.0, 5.0])
    state, trace = run(problem, SOLVER, init(problem, SOLVER, initial_image=start), 80)
    assert trace.gradient_norm.max() > 1e24 * trace.gradient_norm[0]
    np.testing.assert_allclose(state.accepted_z, problem.target, atol=1e-3)
