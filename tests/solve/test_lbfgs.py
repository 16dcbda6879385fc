import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from plenoptax import stop
from plenoptax.solve import init, lbfgs, run, Solver, Status
from plenoptax.solve._lbfgs import empty_inverse_hessian, learn_and_apply

from .problems import Cliff, Quadratic


def rosenbrock(z):
    return jnp.sum(100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2)


class Function(Quadratic):
    """Rosenbrock's function under the name of a problem."""

    def objective(self, z, memory):
        return rosenbrock(z), {"penalty": jnp.zeros(())}


class Boxed(Function):
    """The same, with no element above 0.8, where 1 would be best, or below -2."""

    def project(self, z):
        return jnp.clip(z, -2.0, 0.8)


def minimize(problem, initial_image, max_steps, **options):
    solver = Solver(lbfgs(**options), stop=stop.Never())
    state = init(problem, solver, initial_image=initial_image)
    return run(problem, solver, state, max_steps)


def test_lbfgs_needs_no_more_evaluations_than_scipy(x64):
    start = np.asarray([-1.2, 1.0] * 5)
    scipys = scipy.optimize.minimize(
        lambda z: float(rosenbrock(jnp.asarray(z))),
        start,
        jac=lambda z: np.asarray(jax.grad(rosenbrock)(jnp.asarray(z))),
        method="L-BFGS-B",
        options={"maxcor": 20, "gtol": 1e-9, "ftol": 0},
    )
    problem = Function(jnp.ones(10), jnp.ones(10))
    state, trace = minimize(problem, jnp.asarray(start), int(1.5 * scipys.nfev))
    assert trace.losses.min() < 1e-12
    np.testing.assert_allclose(state.accepted_z, 1, atol=1e-6)


@pytest.mark.parametrize("size", [4, 30])
def test_lbfgs_follows_bounds_as_well_as_scipy(x64, size):
    start = np.clip(np.asarray([-1.2, 1.0] * (size // 2)), -2, 0.8)
    scipys = scipy.optimize.minimize(
        lambda z: float(rosenbrock(jnp.asarray(z))),
        start,
        jac=lambda z: np.asarray(jax.grad(rosenbrock)(jnp.asarray(z))),
        method="L-BFGS-B",
        bounds=[(-2, 0.8)] * size,
        options={"maxcor": 20, "gtol": 1e-10, "ftol": 0},
    )
    state, trace = minimize(
        Boxed(jnp.ones(size), jnp.ones(size)), jnp.asarray(start), int(1.5 * scipys.nfev)
    )
    assert np.asarray(state.accepted_z).max() == 0.8
    np.testing.assert_allclose(trace.losses.min(), scipys.fun, rtol=1e-8)
    np.testing.assert_allclose(state.accepted_z, scipys.x, atol=1e-5)


def test_lbfgs_lets_go_of_a_bound():
    class Moved(Quadratic):
        def project(self, z):
            return jnp.clip(z, 0.0, 1.0)

        def objective(self, z, memory):
            # Far from the end the first element is pressed against the bound that it has to leave.
            pull = (z[0] - 0.4 - 8 * (z[1] - 0.5) ** 2) ** 2 + 0.1 * (z[1] - 0.5) ** 2
            return pull, {"penalty": jnp.zeros(())}

    problem = Moved(jnp.ones(2), jnp.ones(2))
    state, trace = minimize(problem, jnp.asarray([0.9, 0.0]), 60)
    assert trace.losses[-1] < 1e-8
    np.testing.assert_allclose(state.accepted_z, [0.4, 0.5], atol=1e-3)


def test_lbfgs_accepts_only_sufficient_decrease(getkey):
    problem = Function(jnp.ones(6), jnp.ones(6))
    _, trace = minimize(problem, jnp.full((6,), -1.5), 60)
    assert not trace.accepted.all()
    accepted = trace.losses[:-1][trace.accepted]
    assert np.all(np.diff(accepted) <= 0)


def test_lbfgs_solves_badly_scaled_quadratics_over_a_tree():
    def objective(z):
        return jnp.sum(z["a"] ** 2) + 1e4 * jnp.sum((z["b"] - 1) ** 2)

    optimizer = lbfgs()
    z = {"a": jnp.ones((3,)), "b": jnp.zeros((2, 2))}
    state = optimizer.init(z)
    evaluate = jax.jit(jax.value_and_grad(objective))
    update = jax.jit(optimizer.update)
    for _ in range(40):
        value, gradient = evaluate(z)
        updates, state, _ = update(gradient, state, z, value=value)
        z = optax.apply_updates(z, updates)
    assert value < 1e-8


def test_lbfgs_rejects_trials_that_are_not_finite():
    problem = Cliff(jnp.asarray([0.9, 5.0, -3.0]), jnp.asarray(1.0))
    state, trace = minimize(problem, jnp.asarray([0.0, 40.0, 40.0]), 40)
    assert trace.losses[-1] < 1e-8
    assert state.status == Status.step_limit
    steep = Cliff(jnp.asarray([0.99, 0.0]), jnp.asarray(1.0))
    state, trace = minimize(steep, jnp.asarray([-30.0, 1.0]), 40)
    rejected = ~np.isfinite(trace.losses[:-1])
    assert np.isfinite(trace.losses[-1])
    assert not trace.accepted[rejected].any()


def test_lbfgs_steps_over_a_wall_of_nan_become_short():
    # The minimum lies behind the wall: the search must creep up to it and say that it is stuck.
    problem = Cliff(jnp.asarray([2.0]), jnp.asarray(1.0))
    state, trace = minimize(problem, jnp.asarray([0.0]), 300)
    assert np.isnan(trace.losses).any()
    assert 0.9 < float(state.accepted_z[0]) <= 1
    np.testing.assert_allclose(trace.losses[-1], (2 - state.accepted_z[0]) ** 2, rtol=1e-5)


def test_lbfgs_ends_on_a_plateau_in_working_precision():
    problem = Quadratic(jnp.full((5,), 0.3), jnp.asarray([1.0, 3.0, 10.0, 30.0, 100.0]))
    state, trace = minimize(problem, jnp.zeros((5,)), 500)
    assert trace.losses[-1] < 1e-12
    assert np.isfinite(trace.losses).all()


def test_lbfgs_goes_on_from_a_minimum_without_nan():
    problem = Quadratic(jnp.full((5,), 0.25), jnp.ones((5,)))
    state, trace = minimize(problem, jnp.full((5,), 0.25), 5)
    np.testing.assert_array_equal(trace.losses, 0)
    np.testing.assert_array_equal(state.accepted_z, 0.25)


def test_rejected_trials_leave_what_is_known_as_it_was():
    # Only the row that is written again before it is read may differ.
    problem = Function(jnp.ones(6), jnp.ones(6))
    solver = Solver(lbfgs(memory_size=3), stop=stop.Never())
    previous = init(problem, solver, initial_image=jnp.full((6,), -1.5))
    num_rejected = 0
    for _ in range(40):
        new, trace = run(problem, solver, previous, 1)
        memory, before = new.optimizer_state.memory, previous.optimizer_state.memory
        if not trace.accepted[0]:
            num_rejected += 1
            free = int(before.count) % 3
            kept = np.asarray([row for row in range(3) if row != free])
            for name in before._fields:
                a, b = np.asarray(getattr(memory, name)), np.asarray(getattr(before, name))
                if name in ("steps", "changes"):
                    a, b = a[kept], b[kept]
                np.testing.assert_array_equal(a, b, err_msg=name)
        previous = new
    assert num_rejected > 2


@pytest.mark.parametrize("memory_size", [1, 4, 30])
def test_inverse_hessian_is_optaxs(memory_size, x64, rng):
    # Gradients of a quadratic, so that all curvatures are positive.
    hessian = np.diag(rng.uniform(1, 50, 12)) + 0.1
    optaxs = optax.scale_by_lbfgs(memory_size)
    point = jnp.asarray(rng.normal(size=12))
    state, memory = optaxs.init(point), empty_inverse_hessian(12, memory_size, point.dtype)
    update, learn = jax.jit(optaxs.update), jax.jit(learn_and_apply)
    for iteration in range(10):
        gradient = jnp.asarray(hessian @ point)
        with jax.numpy_dtype_promotion("standard"):
            wanted, state = update(gradient, state, point)
        # Optax's first step is at most one unit long.
        first_scale = 1 / jnp.maximum(jnp.linalg.norm(gradient), 1)
        ascent, memory = learn(memory, point, gradient, jnp.asarray(iteration == 0), first_scale)
        np.testing.assert_allclose(ascent, wanted, rtol=1e-9)
        point = jnp.asarray(rng.normal(size=12))


def test_inverse_hessian_leaves_out_pairs_of_negative_curvature(x64, rng):
    memory = empty_inverse_hessian(5, 3, jnp.dtype(float))
    for iteration in range(6):
        point = jnp.asarray(rng.normal(size=5))
        gradient = point * jnp.asarray([1.0, 2.0, 3.0, -4.0, -5.0])
        is_first = jnp.asarray(iteration == 0)
        ascent, memory = learn_and_apply(memory, point, gradient, is_first, jnp.asarray(0.1))
        assert float(ascent @ gradient) > 0


@pytest.mark.parametrize("memory_size", [1, 5])
def test_lbfgs_memory_size_is_the_number_of_pairs(memory_size):
    state = lbfgs(memory_size).init(jnp.zeros((2, 3)))
    assert state.memory.steps.shape == (memory_size, 6)
    with pytest.raises(ValueError, match="memory_size must be a whole number, at least 1, got 0"):
        lbfgs(0)
