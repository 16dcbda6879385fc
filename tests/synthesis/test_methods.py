import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx
from plenoptax._tree import leaves_by_path

from .competitions import l1


class Curved(eqx.Module):
    """Means over blocks and compressed pixels."""

    gain: jax.Array
    scales = ("coarse", "fine")

    def __call__(self, image, scales=None):
        parts = {
            "coarse": image.reshape(2, 2, 2, 2).mean((1, 3)).ravel(),
            "fine": jnp.tanh(self.gain * image).ravel(),
        }
        return jnp.concatenate([parts[s] for s in self.scales if scales is None or s in scales])


def curved(images, gain=2.0):
    return Curved(jnp.asarray(gain, images.dtype))


def metamer(images):
    return plx.Metamer(images[0], curved(images))


def penalized(images):
    penalties = [plx.regularize.penalize_range, plx.regularize.penalize_total_variation]
    return plx.Metamer(
        images[0],
        curved(images),
        penalty_function=plx.loss.WeightedSum(penalties, [1.0, 0.1]),
        penalty_lambda=drop_late,
    )


def drop_late(num_steps):
    return jnp.where(num_steps < 5, 0.5, 0.1)


def metamer_ctf(images, gain=2.0, **options):
    options = {"change_scale_criterion": None, "ctf_iters_to_check": 3, **options}
    return plx.MetamerCTF(images[0], curved(images, gain), **options)


def mad(images, weight=None, optimized=l1, held=plx.metric.mse, minmax="max"):
    return plx.MADCompetition(images[0], optimized, held, minmax, weight)


def geodesic(images, gain=2.0):
    return plx.Geodesic(images[0], images[1], curved(images, gain), n_steps=4)


def conditional_geodesic(images, bound=0.2):
    return plx.ConditionalGeodesic(geodesic(images), bound)


def response(neuron, image):
    return -jnp.vdot(neuron, image), {"mean": jnp.mean(image)}


def objective(images):
    neuron = jax.tree_util.Partial(response, images[1])
    return plx.Objective(neuron, images[0].shape, image_dtype=images.dtype)


ADAM = plx.Solver(optax.adam(0.01))
LBFGS = plx.Solver(plx.lbfgs(3))
PATH = plx.Solver(plx.precondition_path(plx.lbfgs(3)))
METHODS = {
    "metamer": (metamer, ADAM),
    "scheduled sum of penalties": (penalized, LBFGS),
    "metamer_ctf": (metamer_ctf, ADAM),
    "mad with a constraint": (mad, ADAM),
    "mad with a penalty": (ft.partial(mad, weight=10.0), ADAM),
    "geodesic": (geodesic, ADAM),
    "conditional geodesic": (conditional_geodesic, PATH),
    "objective": (objective, ADAM),
}


def draw(*shape, dtype=jnp.float32):
    return jax.random.uniform(jax.random.key(7), (*shape, 2, 1, 4, 4), dtype, 0.1, 0.9)


# One program for all tests of a method: the other driver has two of them.
host = ft.partial(plx.run, driver="host")


def begin(problem, solver, folder):
    """The start of a run, out of a file, for whose arrays another program would be compiled."""
    start = plx.init(problem, solver, key=jax.random.key(1))
    plx.io.save(folder / "start.npz", start)
    return plx.io.load(folder / "start.npz", like=start)


@pytest.fixture(scope="module", params=METHODS)
def whole(request, tmp_path_factory):
    """A problem, its solver and start, and what ten steps from there come to."""
    pose, solver = METHODS[request.param]
    problem = pose(draw())
    start = begin(problem, solver, tmp_path_factory.mktemp("methods"))
    return problem, solver, start, *host(problem, solver, start, 10, record=3)


def assert_same_traces(found, wanted):
    for field in ("images", "image_steps", "best_image", "best_loss"):
        a, b = (np.asarray(getattr(trace, field)) for trace in (found, wanted))
        assert a.dtype == b.dtype, field
        np.testing.assert_array_equal(a, b, err_msg=field)
    # The last row of the first part is a step that was not taken.
    found, wanted = ({**leaves_by_path(trace.infos)} for trace in (found, wanted))
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_state_and_trace_survive_a_file(whole, tmp_path):
    problem, _, start, state, trace = whole
    plx.io.save(tmp_path / "state.npz", state, trace, problem=problem)
    loaded = plx.io.load(tmp_path / "state.npz", like=start, problem=problem)
    assert eqx.tree_equal(loaded, state)
    assert not eqx.tree_equal(loaded, start)
    found = plx.io.load_trace(tmp_path / "state.npz")
    assert_same_traces(found, trace)
    assert found.provenance == trace.provenance


def test_steps_taken_in_two_parts_are_those_of_one_run(whole, tmp_path):
    problem, solver, start, state, trace = whole
    half, first = host(problem, solver, start, 4, record=3)
    assert not eqx.tree_equal(half.z, state.z)
    plx.io.save(tmp_path / "state.npz", half, first)
    half = plx.io.load(tmp_path / "state.npz", like=start)
    end, second = host(problem, solver, half, 6, record=3)
    assert eqx.tree_equal(end, state)
    assert_same_traces(plx.io.load_trace(tmp_path / "state.npz") + second, trace)


@pytest.mark.parametrize("name", METHODS)
def test_methods_keep_to_float64(name, x64, tmp_path):
    pose, solver = METHODS[name]
    problem = pose(draw(dtype=jnp.float64))
    state, trace = host(problem, solver, begin(problem, solver, tmp_path), 3)
    for part in (state, problem):
        leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(part, eqx.is_inexact_array))
        for path, leaf in leaves:
            assert leaf.dtype == jnp.float64, jax.tree_util.keystr(path)
    assert problem.decode(state.accepted_z).dtype == jnp.float64
    assert trace.losses.dtype == np.float64
    assert np.isfinite(trace.losses).all()
    # The last loss may be the first again, where all trials were rejected.
    assert len(np.unique(trace.losses)) > 1


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_two_equals_its_singles(name, tmp_path):
    pose, solver = METHODS[name]
    problems = plx.batch(pose, draw(2))
    starts = begin(problems, solver, tmp_path)
    states, traces = host(problems, solver, starts, 10)
    ends = []
    for index in range(2):
        start = jax.tree.map(lambda leaf, i=index: leaf[i], starts)
        problem = pose(draw(2)[index])
        state, trace = host(problem, solver, start, 10)
        found = jax.tree.map(lambda leaf, i=index: leaf[i], states)
        ends.append(problem.decode(state.accepted_z))
        np.testing.assert_allclose(problem.decode(found.accepted_z), ends[-1], atol=1e-4)
        np.testing.assert_allclose(traces[index].losses, trace.losses, rtol=1e-4, atol=1e-6)
        for term, values in trace.terms.items():
            np.testing.assert_allclose(traces[index].terms[term], values, rtol=1e-3, atol=1e-5)
    assert np.abs(ends[0] - ends[1]).max() > 0.05


def weighted(factor):
    model = jax.tree_util.Partial(jnp.multiply, jnp.float32(factor))
    return plx.metric.model_metric_factory(model)


CHANGES = {
    "optimized metric": (
        mad,
        {},
        {"optimized": plx.loss.l2_norm},
        "optimized_metric was l1 and is l2_norm",
    ),
    "parameter": (
        mad,
        {"optimized": weighted(2)},
        {"optimized": weighted(3)},
        "multiply, 2.0.* and is .*multiply, 3.0",
    ),
    "held metric": (mad, {}, {"held": plx.loss.l2_norm}, r"\.reference_value differs"),
    "direction": (mad, {}, {"minmax": "min"}, r"\.sign differs, by up to 2"),
    "weight": (mad, {"weight": 10.0}, {"weight": 11.0}, r"\.metric_tradeoff_lambda differs"),
    "model of scales": (metamer_ctf, {}, {"gain": 2.1}, r"\.target differs"),
    "scales": (
        metamer_ctf,
        {},
        {"coarse_to_fine": "separate"},
        "coarse_to_fine|stage_scales was",
    ),
    "limit of a stage": (
        metamer_ctf,
        {},
        {"max_stage_steps": 400},
        r"\.max_stage_steps differs, by up to 100",
    ),
    "model of a path": (geodesic, {}, {"gain": 2.1}, r"\.ends differs"),
    "bound": (conditional_geodesic, {}, {"bound": 0.3}, r"\.energy_bound differs"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_problem_is_noticed_in_its_file(name, tmp_path):
    pose, saved, changed, message = CHANGES[name]
    problem = pose(draw(), **saved)
    start = begin(problem, ADAM, tmp_path)
    plx.io.save(tmp_path / "state.npz", start, problem=problem)
    loaded = plx.io.load(tmp_path / "state.npz", like=start, problem=pose(draw(), **saved))
    assert eqx.tree_equal(loaded, start)
    with pytest.raises(ValueError, match=message):
        plx.io.load(tmp_path / "state.npz", like=start, problem=pose(draw(), **saved | changed))


def enter(name, images, **options):
    """An entry function with the solver that it takes by itself."""
    model = curved(images)
    match name:
        case "metamer":
            return plx.metamer(images[0], model, **options)
        case "metamer_ctf":
            options |= {"change_scale_criterion": None, "ctf_iters_to_check": 3}
            return plx.metamer_ctf(images[0], model, **options)
        case "mad_competition":
            return plx.mad_competition(images[0], l1, plx.metric.mse, "max", 10.0, **options)
        case "geodesic":
            return plx.geodesic(images[0], images[1], model, n_steps=4, **options)
        case "synthesize":
            neuron = jax.tree_util.Partial(response, images[1])
            return plx.synthesize(neuron, images[0].shape, **options)


@pytest.mark.parametrize(
    "name", ["metamer", "metamer_ctf", "mad_competition", "geodesic", "synthesize"]
)
def test_results_go_on_with_the_solver_that_they_name(name):
    options = {"key": jax.random.key(1), "progress": False}
    whole = enter(name, draw(), max_steps=6, **options)
    part = enter(name, draw(), max_steps=4, **options)
    state, more = plx.run(part.problem, part.solver, part.state, 2)
    assert eqx.tree_equal(state, whole.state)
    assert_same_traces(part.trace + more, whole.trace)


def test_elements_of_a_batch_name_its_solver():
    result = plx.metamer(draw()[0], curved(draw()), key=jax.random.key(1), num_seeds=2, max_steps=2)
    assert result[1].solver is result.solver
