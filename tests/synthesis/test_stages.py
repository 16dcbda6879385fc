"""How long the stages of a metamer from coarse to fine take, and what is said of them."""

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx
from plenoptax.synthesis._report import report_on_batch
from plenoptax.synthesis._stages import describe_stages

from .bands import SelectableBands


# No change and no loss is below 0: no stage ends by its criteria.
LIMITED = {
    "change_scale_criterion": 0.0,
    "change_scale_loss": 0.0,
    "ctf_iters_to_check": 3,
    "max_stage_steps": 5,
}
# Two tolerances of one program: never, and at the first occasion.
NEVER = plx.Solver(optax.adam(0.02), stop=plx.stop.LossChange(0.0, window=2))
HASTY = plx.Solver(optax.adam(0.02), stop=plx.stop.LossChange(1e9, window=2))


def draw(*shape):
    return jax.random.uniform(jax.random.key(3), (*shape, 1, 16, 16))


def begin(solver, **options):
    problem = plx.MetamerCTF(draw(), SelectableBands(), **LIMITED | options)
    return problem, plx.init(problem, solver, initial_image=jnp.full((1, 16, 16), 0.5))


def synthesize(image, **options):
    start = jnp.full(image.shape, 0.5)
    options = {"initial_image": start, "solver": NEVER, "progress": False, **LIMITED, **options}
    return plx.metamer_ctf(image, SelectableBands(), **options)


def lengths(problem, trace):
    return [len(steps) for steps in problem.scales_timing(trace).values()]


def test_each_stage_ends_at_its_limit_and_so_does_a_run_without_a_total(capsys):
    result = synthesize(draw(), progress=True)
    assert lengths(result.problem, result.trace) == [5, 5, 5]
    assert bool(result.status == plx.Status.step_limit)
    more = synthesize(draw(), max_steps=24)
    assert lengths(more.problem, more.trace) == [5, 5, 14]
    np.testing.assert_array_equal(more.trace.losses[:15], result.trace.losses[:15])
    shown = capsys.readouterr().err
    assert "15step" in shown
    assert "stage=all" in shown


class Fussy(plx.AbstractOptimizer):
    """Gradient descent of which each third step alone is accepted, from the first."""

    def init(self, z):
        return jnp.zeros((), jnp.int32)

    def update(self, gradient, state, z, *, value, value_fn):
        moved = jax.tree.map(lambda leaf: -0.5 * leaf, gradient)
        outcome = plx.Outcome(
            accepted=state % 3 == 0,
            exhausted=False,
            finite=jnp.isfinite(value),
            num_evaluations=1,
            learning_rate=0.5,
        )
        return moved, state + 1, outcome

    def restart(self, state, z, accepted_z):
        return accepted_z, state


def test_rejected_trials_count_and_the_next_stage_begins_at_the_accepted_image():
    solver = plx.Solver(Fussy(), stop=plx.stop.Never())
    problem, start = begin(solver)
    _, trace = plx.run(problem, solver, start, None, record=1)
    assert trace.accepted.tolist() == [step % 3 == 0 for step in range(15)]
    assert trace.terms["stage"].tolist() == [0] * 5 + [1] * 5 + [2] * 6
    # Step 4, the last of its stage, is rejected; step 9 is accepted.
    np.testing.assert_array_equal(trace.images[5], trace.images[3])
    np.testing.assert_array_equal(trace.images[10], trace.images[9])
    # Three accepted steps are there after seven; 9 and 12 are the next two.
    problem, start = begin(solver, change_scale_criterion=None, max_stage_steps=None)
    _, trace = plx.run(problem, solver, start, 20)
    assert lengths(problem, trace) == [7, 9, 4]


def test_every_cut_of_a_run_leaves_it_as_it_was(tmp_path):
    problem, start = begin(NEVER)
    whole, trace = plx.run(problem, NEVER, start, None)
    longer, _ = plx.run(problem, NEVER, start, 18)
    for cut in (4, 5, 11, 15):
        state, first = plx.run(problem, NEVER, start, cut)
        plx.io.save(tmp_path / "state.npz", state)
        state = plx.io.load(tmp_path / "state.npz", like=start)
        end, second = plx.run(problem, NEVER, state, None)
        assert eqx.tree_equal(end, whole), cut
        np.testing.assert_array_equal((first + second).losses, trace.losses)
    again, none = plx.run(problem, NEVER, whole, None)
    assert eqx.tree_equal(again, whole)
    assert len(none) == 0
    further, _ = plx.run(problem, NEVER, whole, 3)
    assert eqx.tree_equal(further, longer)


def test_a_rule_that_fires_early_does_not_end_a_run_that_is_gone_on_with():
    problem, start = begin(HASTY)
    whole, trace = plx.run(problem, HASTY, start, 30)
    # In the first stage, and in the last before it may end.
    for cut in (3, 14):
        state, first = plx.run(problem, HASTY, start, cut)
        assert bool(HASTY.stop.fires(state.stop_state))
        end, second = plx.run(problem, HASTY, state, 30 - cut)
        assert eqx.tree_equal(end, whole)
        assert len(first) + len(second) == len(trace) == 15


def test_the_last_stage_ends_after_more_steps_than_its_window():
    problem, start = begin(HASTY, max_stage_steps=30, change_scale_loss=9.0)
    state, trace = plx.run(problem, HASTY, start, None)
    assert bool(state.status == plx.Status.plateau)
    assert lengths(problem, trace) == [1, 1, 3 + 2]
    assert describe_stages(problem, state.status, trace) == (
        "finished coarse (1 steps), middle (1 steps), all (5 steps)"
    )


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Validating whether model:UserWarning")
def test_the_last_stage_is_as_long_as_plenoptics():
    torch = pytest.importorskip("torch")
    po = pytest.importorskip("plenoptic")
    image = np.array(plx.data.grass()[:, 100:132, 60:92])
    theirs = po.models.PortillaSimoncelli((32, 32), n_scales=1, spatial_corr_width=5)
    theirs.eval()
    ctf = po.MetamerCTF(torch.as_tensor(image)[None], theirs, loss_function=po.loss.l2_norm)
    with pytest.warns(UserWarning, match="converged"):
        ctf.synthesize(
            60,
            change_scale_criterion=None,
            ctf_iters_to_check=6,
            stop_criterion=1e9,
            stop_iters_to_check=3,
        )
    result = plx.metamer_ctf(
        jnp.asarray(image),
        plx.models.PortillaSimoncelli((32, 32), n_scales=1, spatial_corr_width=5),
        plx.loss.l2_norm,
        change_scale_criterion=None,
        ctf_iters_to_check=6,
        key=jax.random.key(0),
        solver=plx.Solver(optax.adam(0.01), plx.stop.LossChange(1e9, window=3)),
        progress=False,
    )
    # The last of plenoptic's losses is that of the final image.
    assert len(result.trace) == len(ctf.losses) - 1
    ends = [steps[-1] for steps in result.problem.scales_timing(result.trace).values()]
    assert ends[:-1] == [steps[-1] for steps in ctf.scales_timing.values()][:-1]


def test_reports_name_the_stages_that_are_left():
    problem, start = begin(NEVER)
    state, trace = plx.run(problem, NEVER, start, 7)
    report = plx.Result(problem, state, trace).report()
    assert report.stages == "finished coarse (5 steps); under way middle (2 steps); never begun all"
    # The losses of the first stages are small.
    early = dataclasses.replace(report, terms=report.terms | {"stage": 0.0}, losses=(1.0, 1e-9))
    both = report_on_batch([early, report], jnp.zeros((2, 1)), are_seeds=False)
    assert both.best == 1
    assert str(both).count(report.stages) == 1
    assert re.search(rf"\nstages +{re.escape(report.stages)}\n", str(report))
    assert "the report names the remaining ones" in report.status
    # The step that ends a stage belongs to it, and the next has not begun.
    state, trace = plx.run(problem, NEVER, start, 5)
    stages = describe_stages(problem, state.status, trace)
    assert stages == "finished coarse (5 steps); never begun middle, all"
    # A trace of the end alone, and a problem that goes to its last stage at once.
    _, more = plx.run(problem, NEVER, state, 6)
    stages = describe_stages(problem, plx.Status.interrupted, more)
    assert stages == "finished coarse, middle (5 steps); under way all (1 steps)"
    infos = dataclasses.replace(more.infos, terms={"stage": np.asarray([0, 0, 2, 2])})
    jumped = dataclasses.replace(more, infos=infos)
    stages = describe_stages(problem, plx.Status.plateau, jumped)
    assert stages == "finished coarse (2 steps), all (1 steps); skipped middle"
    assert describe_stages(plx.Metamer(draw(), SelectableBands()), state.status, trace) == ""


def test_a_checkpoint_is_gone_on_with_to_a_larger_total_and_to_the_end(tmp_path):
    key = jax.random.key(5)
    whole = synthesize(draw(), initial_image=None, key=key)
    for max_steps in (3, 7, None):
        part = synthesize(
            draw(), initial_image=None, key=key, max_steps=max_steps, checkpoint=tmp_path / "part"
        )
        assert len(part.trace) == (max_steps or 15)
    assert eqx.tree_equal(part.state, whole.state)
    np.testing.assert_array_equal(part.trace.losses, whole.trace.losses)


def test_none_is_refused_where_nothing_ends_the_run(unchecked):
    options = {"key": jax.random.key(0), "max_steps": None}
    with pytest.raises(ValueError, match="max_steps must be a whole number, at least 0, got None"):
        plx.metamer(draw(), SelectableBands(), **options)
    with pytest.raises(ValueError, match="Give a number of steps"):
        plx.metamer_ctf(draw(), SelectableBands(), max_stage_steps=None, **options)
