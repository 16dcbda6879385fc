import os
import pathlib
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx


ROOT = pathlib.Path(__file__).parents[2]
MODEL = plx.models.Gaussian(5)
SOLVER = plx.Solver(plx.lbfgs(3), stop=plx.stop.Never())


def image(name="brick", size=24):
    return getattr(plx.data, name)()[:, :size, :size]


def synthesize(**named):
    named = {"key": jax.random.key(0), "max_steps": 6, "progress": False, "solver": SOLVER} | named
    return plx.metamer(image(), MODEL, **named)


def same(found, result):
    """Whether what a file shows of a result without its problem is as it was."""
    np.testing.assert_array_equal(found.image, result.image)
    assert found.is_batch == result.is_batch
    assert bool(jnp.all(found.status == result.status))
    for one, other in zip(found.trace.elements, result.trace.elements, strict=True):
        assert eqx.tree_equal(one.infos, jax.tree.map(np.asarray, other.infos))
        np.testing.assert_array_equal(one.images, other.images)
        assert one.provenance == other.provenance
        assert one.best_loss == other.best_loss


@pytest.mark.parametrize(
    "named",
    [{}, {"record": plx.Record(every=2, best=True)}, {"num_seeds": 2}, {"checkpoint": True}],
    ids=["alone", "recorded", "seeds", "checkpoint"],
)
def test_a_result_is_shown_without_its_problem(named, tmp_path):
    path = tmp_path / "result.npz"
    if "checkpoint" in named:
        result = synthesize(checkpoint=path)
    else:
        result = synthesize(**named)
        plx.io.save(path, result)
    found = plx.io.load_result(path)
    same(found, result)
    if found.is_batch:
        np.testing.assert_array_equal(found[1].image, result[1].image)
        assert found[1].status == plx.Status.step_limit
    one = found[0] if found.is_batch else found
    for ask in (
        found.report,
        lambda: found.success,
        lambda: one.problem.objective_function(one.image),
        lambda: plx.run(found.problem, SOLVER, found.state, 2),
        lambda: plx.step(found.problem, SOLVER, found.state),
    ):
        with pytest.raises(ValueError, match=r"loaded without it.*problem="):
            ask()


@pytest.mark.parametrize("named", [{}, {"num_seeds": 3}], ids=["alone", "seeds"])
def test_a_result_with_problem_and_solver_goes_on_bit_for_bit(named, tmp_path):
    result = synthesize(**named)
    plx.io.save(tmp_path / "result.npz", result)
    found = plx.io.load_result(tmp_path / "result.npz", result.problem, SOLVER)
    same(found, result)
    assert eqx.tree_equal(found.state, result.state)
    wanted, _ = plx.run(result.problem, SOLVER, result.state, 4)
    state, _ = plx.run(found.problem, found.solver, found.state, 4)
    assert eqx.tree_equal(state, wanted)


def test_a_result_without_solver_is_judged_and_asks_for_one_to_go_on(tmp_path, unchecked):
    result = synthesize()
    plx.io.save(tmp_path / "result.npz", result)
    found = plx.io.load_result(tmp_path / "result.npz", problem=result.problem)
    assert found.report().losses == result.report().losses
    assert found.success == result.success
    assert found.problem.objective_function(found.image) == pytest.approx(result.trace.losses[-1])
    with pytest.raises(ValueError, match=r"Give solver= to plenoptax\.io\.load_result"):
        plx.run(found.problem, found.solver, found.state, 2)


def test_a_result_of_another_size_than_the_target_goes_on(tmp_path):
    model = plx.models.PortillaSimoncelli((32, 32), 1, 2, 3)
    problem = plx.Metamer(image(size=32), model, plx.loss.mse)
    with pytest.warns(UserWarning, match="will have the shape of the initial image"):
        state = plx.init(problem, SOLVER, initial_image=jnp.full((1, 48, 48), 0.4))
    state, trace = plx.run(problem, SOLVER, state, 3)
    plx.io.save(tmp_path / "large.npz", plx.Result(problem, state, trace, SOLVER))
    found = plx.io.load_result(tmp_path / "large.npz", problem, SOLVER)
    assert eqx.tree_equal(found.state, state)


def test_another_problem_is_refused_and_none_is_warned_of(tmp_path):
    result = synthesize()
    plx.io.save(tmp_path / "result.npz", result)
    other = plx.Metamer(image("grass"), MODEL)
    with pytest.raises(ValueError, match=r"got another one.*image differs"):
        plx.io.load_result(tmp_path / "result.npz", problem=other)
    plx.io.save(tmp_path / "bare.npz", result.state, result.trace)
    with pytest.warns(plx.io.LoadWarning, match="saved without its problem"):
        found = plx.io.load_result(tmp_path / "bare.npz", result.problem, SOLVER)
    assert eqx.tree_equal(found.state, result.state)
    bare = plx.io.load_result(tmp_path / "bare.npz")
    assert bare.status == result.status
    with pytest.raises(ValueError, match="loaded without it"):
        _ = bare.image
    plx.io.save(tmp_path / "state.npz", result.state, problem=result.problem)
    with pytest.raises(ValueError, match="saved without one"):
        plx.io.load_result(tmp_path / "state.npz")


def test_eigendistortions_are_results_like_others(tmp_path):
    found = plx.eigendistortions(image(), MODEL, method="block_lanczos", progress=False)
    plx.io.save(tmp_path / "found.npz", found)
    again = plx.io.load_result(tmp_path / "found.npz")
    assert eqx.tree_equal(again, found)
    assert eqx.tree_equal(plx.Eigendistortions.load(tmp_path / "found.npz"), found)
    plx.io.save(tmp_path / "metamer.npz", synthesize())
    with pytest.raises(ValueError, match="synthesis"):
        plx.Eigendistortions.load(tmp_path / "metamer.npz")
    with pytest.raises(ValueError, match="must hold the state"):
        plx.io.load(tmp_path / "found.npz", like=synthesize().state)


def test_what_is_saved_must_be_a_result_or_a_state(tmp_path, unchecked):
    result = synthesize()
    with pytest.raises(TypeError, match="must be a result, or a state"):
        plx.io.save(tmp_path / "a.npz", {"image": result.image})
    with pytest.raises(TypeError, match="must be a result, or a state"):
        plx.io.save(tmp_path / "a.npz", result.state, result.trace.losses)
    with pytest.raises(ValueError, match="brings its own"):
        plx.io.save(tmp_path / "a.npz", result, result.trace)
    assert not list(tmp_path.iterdir())


def test_results_solvers_and_models_are_pickled_into_another_process(tmp_path):
    for action in ("write", "read"):
        command = [sys.executable, "-m", "tests.synthesis.pickled", str(tmp_path), action]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    with np.load(tmp_path / "write.npz") as wanted, np.load(tmp_path / "read.npz") as found:
        assert set(found) == set(wanted)
        assert len({name.rsplit(" ", 1)[0] for name in wanted}) == 7 + 12 + 8
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
