import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx
from plenoptax import _progress

from .bands import Bands, SelectableBands


quietly = ft.partial(plx.metamer_ctf, progress=False)
NEVER = plx.Solver(optax.adam(0.02), stop=plx.stop.Never())


@pytest.fixture
def image(getkey):
    return jax.random.uniform(getkey(), (1, 16, 16))


def in_stage(problem, index):
    return eqx.tree_at(lambda memory: memory.index, problem.start(), jnp.asarray(index))


@pytest.mark.parametrize(
    ("coarse_to_fine", "names"),
    [
        ("together", ("coarse", "middle", "all")),
        ("separate", ("coarse", "middle", "fine", "all")),
    ],
)
def test_stages_by_fixed_count(coarse_to_fine, names, image, getkey):
    result = quietly(
        image,
        Bands(),
        coarse_to_fine=coarse_to_fine,
        change_scale_criterion=None,
        ctf_iters_to_check=7,
        solver=NEVER,
        key=getkey(),
        max_steps=40,
    )
    assert result.problem.scales == names
    timing = result.problem.scales_timing(result.trace)
    wanted = [7] * (len(names) - 1) + [40 - 7 * (len(names) - 1)]
    assert [len(timing[name]) for name in names] == wanted


@pytest.mark.parametrize("model", [Bands(), SelectableBands()])
@pytest.mark.parametrize(
    ("coarse_to_fine", "stages"),
    [
        ("together", (["coarse"], ["coarse", "middle"], None)),
        ("separate", (["coarse"], ["middle"], ["fine"], None)),
    ],
)
def test_the_objective_of_a_stage_is_that_of_its_scales(
    coarse_to_fine, stages, model, image, getkey
):
    problem = plx.MetamerCTF(image, model, plx.loss.l2_norm, penalty_lambda=0.3,
                             coarse_to_fine=coarse_to_fine)  # fmt: skip
    other = 1.5 * jax.random.uniform(getkey(), (1, 16, 16))
    penalty = 0.3 * plx.regularize.penalize_range(other)
    for index, scales in enumerate(stages):
        value, _ = problem.objective(other, in_stage(problem, index))
        wanted = plx.loss.l2_norm(model(other, scales), model(image, scales)) + penalty
        assert value == pytest.approx(float(wanted), rel=1e-6)


@pytest.mark.parametrize("loss", [plx.loss.l2_norm, plx.loss.WeightedL2Norm(jnp.ones(276))])
def test_a_separate_stage_sees_the_target_of_its_own_scale_alone(loss, image, getkey):
    model = SelectableBands()
    problem = plx.MetamerCTF(image, model, loss, coarse_to_fine="separate")
    other = jax.random.uniform(getkey(), (1, 16, 16))
    evaluate = eqx.filter_jit(lambda p, index: p.objective(other, in_stage(p, index))[0])
    for name, (first, last) in SelectableBands.ends.items():
        target = problem.target.at[first:last].add(0.1)
        targets = tuple(model.remove_scales(target, scales) for scales in problem.stage_scales)
        changed = eqx.tree_at(lambda p: (p.target, p.stage_targets), problem, (target, targets))
        for index, stage in enumerate(problem.scales):
            is_same = evaluate(problem, jnp.asarray(index)) == evaluate(changed, jnp.asarray(index))
            assert is_same == (stage not in (name, "all"))


def test_selecting_and_representing_anew_give_the_same_images(image, getkey):
    key = getkey()
    results = [
        quietly(
            image,
            model,
            change_scale_criterion=None,
            ctf_iters_to_check=9,
            solver=NEVER,
            key=key,
            max_steps=30,
        )
        for model in (Bands(), SelectableBands())
    ]
    np.testing.assert_allclose(results[0].image, results[1].image, atol=1e-5)
    np.testing.assert_allclose(results[0].trace.losses, results[1].trace.losses, rtol=1e-4)
    whole = results[1].trace.terms["loss_of_all_scales"]
    assert whole[-1] < 0.5 * whole[0]


def test_residual_is_that_of_all_scales(image, getkey):
    problem = plx.MetamerCTF(image, Bands())
    np.testing.assert_allclose(problem.residual(problem.encode(image)), 0, atol=1e-6)
    other = jax.random.uniform(getkey(), image.shape)
    residual = problem.residual(problem.encode(other))
    # The model is linear.
    np.testing.assert_allclose(residual, Bands()(other - image), atol=1e-6)


def test_a_stage_ends_by_its_change_or_by_its_loss(image, getkey):
    options = {"solver": NEVER, "key": getkey(), "max_steps": 120}
    result = quietly(image, Bands(), change_scale_criterion=1e-3, ctf_iters_to_check=5, **options)
    losses, stage = result.trace.losses[:-1], result.trace.terms["stage"][:-1]
    last = np.flatnonzero(stage == 0)[-1]
    changes = np.abs(losses[4 : last + 1] - losses[: last - 3])
    assert changes[-1] < 1e-3
    assert (changes[:-1] >= 1e-3).all()

    result = quietly(
        image,
        Bands(),
        change_scale_criterion=None,
        ctf_iters_to_check=1000,
        change_scale_loss=1e-3,
        max_stage_steps=None,
        **options,
    )
    losses, stage = result.trace.losses[:-1], result.trace.terms["stage"][:-1]
    last = np.flatnonzero(stage == 0)[-1]
    assert losses[last] < 1e-3
    assert (losses[:last] >= 1e-3).all()


def test_no_early_stop_before_the_last_stage(image, getkey):
    # The first stage is minimized to rounding long before it ends.
    rule = plx.stop.LossChange(1e-3, window=5)
    result = quietly(
        image,
        Bands(),
        change_scale_criterion=None,
        ctf_iters_to_check=60,
        solver=plx.Solver(optax.adam(0.02), stop=rule),
        key=getkey(),
        max_steps=400,
    )
    assert bool(result.status == plx.Status.plateau)
    timing = result.problem.scales_timing(result.trace)
    assert len(timing["coarse"]) == len(timing["middle"]) == 60
    assert 5 < len(timing["all"]) < 280


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.inject_hyperparams(optax.amsgrad)(optax.exponential_decay(0.05, 1, 0.9)),
        optax.chain(
            optax.inject_hyperparams(optax.adam)(learning_rate=0.05),
            optax.contrib.reduce_on_plateau(patience=1, rtol=0.9, factor=0.5),
        ),
    ],
)
def test_the_learning_rate_returns_at_a_change_of_stage(optimizer, image, getkey):
    result = quietly(
        image,
        Bands(),
        change_scale_criterion=None,
        ctf_iters_to_check=12,
        solver=plx.Solver(optimizer, stop=plx.stop.Never()),
        key=getkey(),
        max_steps=30,
    )
    stage = result.trace.terms["stage"][:-1]
    rates = result.trace.learning_rate
    assert rates[stage == 0][-2] < rates[0]
    first_of_stage = np.flatnonzero(np.diff(stage)) + 1
    np.testing.assert_allclose(rates[first_of_stage], rates[0], rtol=1e-6)


def test_moments_are_kept_at_a_change_of_stage(image, getkey):
    problem = plx.MetamerCTF(image, Bands(), change_scale_criterion=None, ctf_iters_to_check=3)
    state = plx.init(problem, NEVER, key=getkey())
    state, trace = plx.run(problem, NEVER, state, 3)
    assert int(state.memory.index) == 1
    (adam,) = (s for s in state.optimizer_state if hasattr(s, "mu"))
    assert float(jnp.abs(adam.mu).sum()) > 0
    assert int(adam.count) == 3


def test_lbfgs_starts_anew_from_the_accepted_image(image, getkey):
    solver = plx.Solver(plx.lbfgs(5), stop=plx.stop.Never())
    problem = plx.MetamerCTF(image, Bands(), change_scale_criterion=None, ctf_iters_to_check=4)
    step = eqx.filter_jit(plx.step)
    state = plx.init(problem, solver, key=getkey())
    while int(state.memory.index) == 0:
        state, _ = step(problem, solver, state)
    assert bool(state.optimizer_state.fresh)
    np.testing.assert_array_equal(state.z, state.accepted_z)
    state, trace = plx.run(problem, solver, state, 150)
    assert int(state.memory.index) == 2
    assert trace.losses[-1] < 1e-6


@pytest.mark.parametrize("optimizer", [optax.adam(0.02), plx.lbfgs(5)])
def test_resuming_in_the_middle_of_a_stage(optimizer, image, getkey, tmp_path):
    solver = plx.Solver(optimizer, stop=plx.stop.LossChange(1e-9, window=5))
    problem = plx.MetamerCTF(image, Bands(), change_scale_criterion=1e-3, ctf_iters_to_check=6)
    start = plx.init(problem, solver, key=getkey())
    whole, trace = plx.run(problem, solver, start, 50)
    stage = trace.terms["stage"]
    second = np.flatnonzero(stage == stage[0] + 1)
    cut = int(second[len(second) // 2])
    assert stage[0] < stage[cut - 2] == stage[cut] < stage[-1]
    state, first = plx.run(problem, solver, start, cut)
    plx.io.save(tmp_path / "state.npz", state)
    state = plx.io.load(tmp_path / "state.npz", like=start)
    state, more = plx.run(problem, solver, state, 50 - cut)
    np.testing.assert_array_equal(state.z, whole.z)
    np.testing.assert_array_equal((first + more).losses, trace.losses)
    np.testing.assert_array_equal((first + more).terms["stage"], trace.terms["stage"])


def test_a_batch_changes_stages_one_by_one(getkey):
    images = jax.random.uniform(getkey(), (3, 1, 16, 16))
    images = images.at[1].multiply(0.1)
    starts = jnp.full((3, 1, 16, 16), 0.5)
    options = {
        "change_scale_criterion": 3e-3,
        "ctf_iters_to_check": 5,
        "solver": NEVER,
        "max_steps": 60,
    }
    together = quietly(images, SelectableBands(), batch=True, initial_image=starts, **options)
    for index in range(3):
        alone = quietly(images[index], SelectableBands(), initial_image=starts[index], **options)
        element = together[index].trace.terms["stage"]
        np.testing.assert_array_equal(element, alone.trace.terms["stage"])
        np.testing.assert_allclose(together[index].image, alone.image, atol=1e-4)


@pytest.fixture(scope="module")
def textured():
    model = plx.models.PortillaSimoncelli((64, 64), n_scales=2)
    return plx.MetamerCTF(plx.data.brick()[:, :64, :64], model)


def test_whole_losses_are_given_whole_representations(textured, getkey):
    weighted, model, image = textured, textured.model, textured.image
    other = jax.random.uniform(getkey(), image.shape)
    loss = weighted.objective(other, in_stage(weighted, 1))[0]
    scales = weighted.stage_scales[1]
    kept = np.isin(np.asarray(model.statistic_scales, object), scales)
    synthesized = jnp.where(kept, model(other), model(image))
    wanted = weighted.loss_function(synthesized, model(image))
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)


def test_progress_bar_shows_the_stage(image, getkey, capsys, monkeypatch):
    monkeypatch.setattr(_progress, "tqdm", ft.partial(_progress.tqdm, mininterval=0))
    plx.metamer_ctf(
        image,
        Bands(),
        change_scale_criterion=None,
        ctf_iters_to_check=2,
        solver=NEVER,
        key=getkey(),
        max_steps=9,
    )
    shown = capsys.readouterr().err
    assert "stage=coarse" in shown
    assert "stage=all" in shown


def count_transforms(jaxpr):
    """How many Fourier transforms a program makes, those of its subprograms with it."""
    inner = jax.tree.leaves(
        [equation.params for equation in jaxpr.eqns], is_leaf=lambda x: hasattr(x, "eqns")
    )
    own = sum(equation.primitive.name == "fft" for equation in jaxpr.eqns)
    return own + sum(count_transforms(x) for x in inner if hasattr(x, "eqns"))


def test_stages_of_a_texture_cost_one_pass_through_the_model(textured):
    once, staged = (
        count_transforms(jax.make_jaxpr(function)(textured.image).jaxpr)
        for function in (textured.model, lambda z: textured.objective(z, textured.start()))
    )
    assert len(textured.scales) == 5
    assert staged == once > 0


def test_ablated_groups_do_not_matter_in_any_stage(image, getkey):
    plain = plx.models.PortillaSimoncelli((16, 16), n_scales=1, spatial_corr_width=3)
    ablated = ("auto_correlation_magnitude", "magnitude_std", "std_reconstructed")
    counts = ~np.isin(plain.statistic_groups, ablated)
    result = quietly(
        image,
        plx.models.PortillaSimoncelli((16, 16), 1, spatial_corr_width=3, weights=counts),
        plx.loss.l2_norm,
        change_scale_criterion=None,
        ctf_iters_to_check=2,
        optimizer=optax.adam(0.01),
        key=getkey(),
        max_steps=8,
        record=1,
    )
    trace, stages = result.trace, result.problem.stage_scales
    represented = np.asarray(jax.jit(jax.vmap(plain))(jnp.asarray([image, *trace.images])))
    for step, difference in enumerate(represented[1:, 0] - represented[0, 0]):
        scales = stages[int(trace.terms["stage"][step])]
        kept = counts & np.asarray([label in scales for label in plain.statistic_scales])
        wanted = np.linalg.norm(difference[kept]) + 0.1 * trace.penalties[step]
        np.testing.assert_allclose(trace.losses[step], wanted, rtol=1e-4)
        assert np.abs(difference[~counts]).max() > 0.1
    assert trace.terms["stage"][-1] == len(stages) - 1


def test_bad_arguments(image, unchecked):
    with pytest.raises(ValueError, match="'together' or 'separate'"):
        plx.MetamerCTF(image, Bands(), coarse_to_fine="both")
    for wrong in (0, 2.5, True):
        with pytest.raises(
            ValueError, match="ctf_iters_to_check must be a whole number, at least 1"
        ):
            plx.MetamerCTF(image, Bands(), ctf_iters_to_check=wrong)
        with pytest.raises(ValueError, match="max_stage_steps must be a whole number, at least 1"):
            plx.MetamerCTF(image, Bands(), max_stage_steps=wrong)
    with pytest.raises(ValueError, match="at least ctf_iters_to_check=50, got 49"):
        plx.MetamerCTF(image, Bands(), max_stage_steps=49)
    for name in ("change_scale_criterion", "change_scale_loss"):
        for wrong in (-1e-3, np.nan):
            with pytest.raises(ValueError, match=f"{name} must be a finite number at least 0, got"):
                plx.MetamerCTF(image, Bands(), **{name: wrong})
    with pytest.raises(AttributeError, match="no attribute scales"):
        plx.MetamerCTF(image, plx.models.Gaussian(5))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Validating whether model:UserWarning")
def test_a_run_as_plenoptic_does_it():
    torch = pytest.importorskip("torch")
    po = pytest.importorskip("plenoptic")
    image = np.array(plx.data.grass()[:, 100:164, 60:124])
    start = np.random.default_rng(3).uniform(size=image.shape).astype(np.float32)
    theirs = po.models.PortillaSimoncelli((64, 64), n_scales=2)
    theirs.eval()
    ctf = po.MetamerCTF(torch.as_tensor(image)[None], theirs, loss_function=po.loss.l2_norm)
    ctf.setup(torch.as_tensor(start)[None])
    ctf.synthesize(max_iter=20, change_scale_criterion=None, ctf_iters_to_check=4)
    result = quietly(
        jnp.asarray(image),
        plx.models.PortillaSimoncelli((64, 64), n_scales=2),
        plx.loss.l2_norm,
        change_scale_criterion=None,
        ctf_iters_to_check=4,
        initial_image=jnp.asarray(start),
        optimizer=plx.amsgrad(0.01),
        max_steps=20,
    )
    np.testing.assert_allclose(result.trace.losses[:-1], ctf.scales_loss, rtol=2e-3)
    assert [len(x) for x in result.problem.scales_timing(result.trace).values()] == [4] * 5


def test_another_representation_is_matched_scale_by_scale(image, getkey):
    model, other = SelectableBands(), jax.random.uniform(getkey(), image.shape)
    mean = 0.5 * (model(image) + model(other))
    options = {"change_scale_criterion": None, "ctf_iters_to_check": 5, "solver": NEVER}
    start = jax.random.uniform(getkey(), image.shape)
    result = quietly(
        image, model, target_representation=mean, initial_image=start, max_steps=40, **options
    )
    # A linear model: the representation of the mean image.
    same = quietly((image + other) / 2, model, initial_image=start, max_steps=40, **options)
    np.testing.assert_allclose(result.trace.losses, same.trace.losses, rtol=1e-3, atol=1e-6)
    with pytest.raises(ValueError, match="remove_scales .* got Bands without one"):
        plx.MetamerCTF(image, Bands(), target_representation=mean)
