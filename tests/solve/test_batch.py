import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plenoptax import stop
from plenoptax.solve import batch, Batched, init, lbfgs, run, Solver, Status, step

from .problems import Counted, Quadratic


def make_batch(getkey, size=5, shape=(1, 4, 4)):
    targets = jax.random.uniform(getkey(), (size, *shape))
    curvature = 1 + 5 * jax.random.uniform(getkey(), shape)
    return batch(lambda target: Quadratic(target, curvature), targets)


def test_batch_shares_what_does_not_depend_on_the_elements(getkey):
    problems = make_batch(getkey)
    assert isinstance(problems, Batched)
    assert len(problems) == 5
    assert problems.problem.target.shape == (5, 1, 4, 4)
    assert problems.problem.curvature.shape == (1, 4, 4)
    np.testing.assert_array_equal(problems[2].target, problems.problem.target[2])
    smaller = problems.take(np.asarray([3, 1]))
    assert len(smaller) == 2
    np.testing.assert_array_equal(smaller[0].target, problems[3].target)


@pytest.mark.parametrize("driver", ["host", "chunk"])
@pytest.mark.parametrize("make", [lambda: optax.adam(0.05), lbfgs])
def test_a_batch_equals_its_singles(make, driver, getkey):
    problems = make_batch(getkey)
    solver = Solver(make(), stop=stop.LossChange(1e-5, window=10))
    start = init(problems, solver, key=getkey())
    state, traces = run(problems, solver, start, 300, driver=driver, record=20)
    lengths = set()
    for index in range(5):
        single = jax.tree.map(lambda leaf, i=index: leaf[i], start)
        alone, trace = run(problems[index], solver, single, 300, driver=driver, record=20)
        assert len(traces[index]) == len(trace)
        assert traces[index].losses.shape == trace.losses.shape
        np.testing.assert_allclose(traces[index].losses, trace.losses, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(state.accepted_z[index], alone.accepted_z, atol=1e-4)
        np.testing.assert_array_equal(traces[index].image_steps, trace.image_steps)
        np.testing.assert_allclose(traces[index].images, trace.images, atol=1e-4)
        assert bool((state.status == Status.plateau)[index]) == bool(alone.status == Status.plateau)
        assert int(state.num_evaluations[index]) == int(alone.num_evaluations)
        lengths.add(len(trace))
    assert len(lengths) > 1


def test_a_finished_element_no_longer_changes(getkey):
    targets = jnp.stack([jnp.zeros((3,)), jnp.full((3,), 40.0)])
    problems = batch(lambda target: Quadratic(target, jnp.ones((3,))), targets)
    solver = Solver(optax.adam(0.1), stop=stop.LossChange(1e-6, window=5))
    start = init(problems, solver, initial_image=jnp.full((3,), 0.1))
    early, first = run(problems, solver, start, 150)
    np.testing.assert_array_equal(early.status == Status.plateau, [True, False])
    np.testing.assert_array_equal(early.status == Status.step_limit, [False, True])
    late, second = run(problems, solver, early, 100)
    assert eqx.tree_equal(
        jax.tree.map(lambda leaf: leaf[0], early), jax.tree.map(lambda leaf: leaf[0], late)
    )
    assert len(second[0]) == 0
    assert len(second[1]) == 100
    assert int(late.num_steps[0]) == len(first[0]) < 150


def test_a_batch_is_resumed_bit_for_bit_while_elements_retire(getkey):
    # Far targets take longer: elements stop one after the other, and the batch shrinks.
    distances = jnp.asarray([0.1, 0.2, 0.5, 1.0, 8.0, 20.0])
    problems = batch(lambda d: Quadratic(jnp.full((4,), d), jnp.ones((4,))), distances)
    solver = Solver(optax.adam(0.05), stop=stop.LossChange(1e-6, window=5))
    start = init(problems, solver, initial_image=jnp.zeros((4,)))
    whole, trace = run(problems, solver, start, 400)
    lengths = [len(element) for element in trace.elements]
    assert sorted(lengths) == lengths
    assert lengths[2] < 192 < lengths[-1]
    state, first = run(problems, solver, start, 205)
    state, second = run(problems, solver, state, 195)
    assert eqx.tree_equal(whole, state)
    joined = first + second
    for index in range(6):
        np.testing.assert_array_equal(joined[index].losses, trace[index].losses)


def test_a_batch_over_several_arrays_and_penalty_weights(getkey):
    targets, curvatures = jax.random.uniform(getkey(), (2, 3, 4)), jnp.ones((2, 3, 4)) * 2
    problems = batch(Quadratic, targets, curvatures)
    assert problems.problem.curvature.shape == (2, 3, 4)
    with pytest.raises(ValueError, match="2, 3"):
        batch(Quadratic, targets, jnp.ones((3, 3, 4)))
    with pytest.raises(ValueError, match="no array"):
        batch(lambda: None)


def test_init_of_a_batch_takes_one_or_several_images(unchecked, getkey):
    problems = make_batch(getkey)
    shared = init(problems, optax.adam(0.1), initial_image=jnp.zeros((1, 4, 4)))
    np.testing.assert_array_equal(shared.z, 0)
    assert shared.z.shape == (5, 1, 4, 4)
    own = init(problems, optax.adam(0.1), initial_image=jnp.ones((5, 1, 4, 4)))
    assert own.z.shape == (5, 1, 4, 4)
    drawn = init(problems, optax.adam(0.1), key=getkey()).z
    assert not np.array_equal(drawn[0], drawn[1])
    with pytest.raises(ValueError, match="must have 5 images"):
        init(problems, optax.adam(0.1), initial_image=jnp.ones((4, 1, 4, 4)))


def test_step_freezes_stopped_elements(getkey):
    problems = make_batch(getkey)
    solver = Solver(optax.adam(0.1))
    state = init(problems, solver, key=getkey())
    stopped = jnp.asarray([True, False, False, True, False])
    status = jax.vmap(lambda s: Status.where(s, Status.plateau, Status.running))(stopped)
    state = dataclasses.replace(state, status=status)
    new, info = eqx.filter_jit(step)(problems, solver, state)
    moved = np.any(np.asarray(new.z != state.z), axis=(1, 2, 3))
    np.testing.assert_array_equal(moved, ~np.asarray(stopped))
    np.testing.assert_array_equal(new.num_steps, ~np.asarray(stopped))
    assert info.loss.shape == (5,)


def test_batches_carry_memory_and_terms(getkey):
    problems = batch(Counted, jax.random.uniform(getkey(), (3, 2, 2)))
    solver = Solver(optax.adam(0.01), stop=stop.Never())
    state, traces = run(problems, solver, init(problems, solver, key=getkey()), 10)
    np.testing.assert_array_equal(state.memory, 10)
    np.testing.assert_allclose(traces[1].terms["weight"], 1 + np.arange(11) / 100, rtol=1e-6)


@pytest.mark.parametrize("size", [6, 3])
def test_elements_that_share_a_program_stop_by_themselves(size, getkey):
    # On CPU elements are taken in pairs, or in an odd batch one by one.
    targets = jax.random.uniform(getkey(), (size, 1, 3, 4))
    solver = Solver(optax.adam(0.05), stop=stop.LossChange(1e-2, window=3))
    problem = batch(Counted, targets)
    state = init(problem, solver, key=getkey())
    together, _ = run(problem, solver, state, 40)
    assert len(set(np.asarray(together.num_steps).tolist())) > 1
    for i in range(size):
        one, trace = run(problem[i], solver, jax.tree.map(lambda x, i=i: x[i], state), 40)
        np.testing.assert_allclose(together.z["half"][i], one.z["half"], rtol=1e-5)
        assert int(together.num_steps[i]) == len(trace)
