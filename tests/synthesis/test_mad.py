import functools as ft
import json
import signal
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest

import plenoptax as plx
from plenoptax._progress import ProgressBar

from .competitions import l1, l2, quietly, ssim_distance


def falling(rate, steps):
    return plx.Solver(
        optax.adam(optax.cosine_decay_schedule(rate, steps), b2=0.9), stop=plx.stop.Never()
    )


def strays(result):
    """How far the reference metric went from its value, as a part of it, in the whole run."""
    held = result.trace.terms["reference_metric"]
    return np.abs(held / np.asarray(result.problem.reference_value) - 1).max()


@pytest.fixture(scope="module")
def four(photograph):
    """The four images of SSIM and MSE on a piece of a photograph."""
    return plx.mad_competition_set(
        photograph,
        ssim_distance,
        plx.metric.mse,
        key=jax.random.key(0),
        initial_noise=0.04,
        max_steps=400,
        progress=False,
    )


def test_a_set_is_shown_with_the_image_that_it_started_from():
    image, start = jnp.full((1, 1, 2), 0.5), jnp.asarray([[[0.6, 0.4]]])
    images = plx.mad_competition_set(
        image,
        l2,
        l1,
        initial_image=start,
        max_steps=2,
        record=plx.Record(best=True),
        progress=False,
    )
    for result in images:
        assert result.trace.image_steps.tolist() == [0]
        np.testing.assert_array_equal(result.trace.images[0], start)
    figure = plx.plot.mad_imshow_all(*images)
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == [
        "Reference", "Best l2", "Best l1", "Initial image", "Worst l2", "Worst l1"
    ]  # fmt: skip
    plt.close(figure)


@pytest.mark.parametrize("moment", ["between steps", "while the second metric is compiled"])
def test_ctrl_c_ends_all_four_and_keeps_those_that_have_begun(moment, monkeypatch):
    updates, starts = ProgressBar.update, ProgressBar.__init__
    bars = []

    def start(bar, *arguments, **named):
        bars.append(bar)
        if moment != "between steps" and len(bars) == 2:
            raise KeyboardInterrupt
        starts(bar, *arguments, **named)

    def update(bar, count, shown):
        if moment == "between steps" and len(bars) == 1 and count:
            signal.raise_signal(signal.SIGINT)
        updates(bar, count, shown)

    monkeypatch.setattr(ProgressBar, "__init__", start)
    monkeypatch.setattr(ProgressBar, "update", update)
    image, noisy = jnp.full((1, 1, 2), 0.5), jnp.asarray([[[0.6, 0.4]]])
    images = plx.mad_competition_set(
        image, l2, l1, initial_image=noisy, max_steps=20, progress=False
    )
    first = 1 if moment == "between steps" else 20
    assert [len(result.trace) for result in images] == [first, 0, first, 0]
    np.testing.assert_array_equal(images.metric2_min.image, noisy)


def test_a_batch_of_sets_is_its_sets():
    images = jnp.stack([jnp.full((1, 2, 2), 0.4), jnp.full((1, 2, 2), 0.6)])
    # With a penalty instead of a constraint, programs compile in half the time.
    key = jax.random.key(5)
    named = {"metric_tradeoff_lambda": 1.0, "max_steps": 8, "progress": False}
    together = plx.mad_competition_set(images, l2, l1, key=key, batch=True, **named)
    start = images[1] + 0.1 * jax.random.normal(jax.random.split(key)[1], (1, 2, 2))
    alone = plx.mad_competition_set(images[1], l2, l1, initial_image=start, **named)
    for one, several in zip(alone, together, strict=True):
        np.testing.assert_allclose(several[1].image, one.image, atol=4e-7)
        assert several[1].problem.sign == one.problem.sign
    assert float(jnp.abs(together.metric1_min.image - together.metric1_max.image).min()) > 1e-4
    # The first seed of an image has the start of the first image of a batch.
    named |= {"key": key, "num_seeds": 2, "batch_size": 1, "max_steps": 0}
    seeds = plx.mad_competition_set(images[0], l2, l2, **named)
    first, second = seeds.metric2_max.image
    np.testing.assert_array_equal(first, together.metric1_min.trace.elements[0].images[0])
    np.testing.assert_allclose(second + 0.2, start, atol=1e-6)


def test_ctrl_c_ends_a_batch_of_sets(monkeypatch):
    updates = ProgressBar.update

    def update(bar, count, shown):
        if count:
            signal.raise_signal(signal.SIGINT)
        updates(bar, count, shown)

    monkeypatch.setattr(ProgressBar, "update", update)
    images = jnp.stack([jnp.full((1, 2, 2), 0.4), jnp.full((1, 2, 2), 0.6)])
    named = {"batch": True, "metric_tradeoff_lambda": 1.0, "max_steps": 8, "progress": False}
    found = plx.mad_competition_set(images, l2, l1, key=jax.random.key(5), **named)
    assert [len(result.trace.elements[0]) for result in found] == [1, 0, 0, 0]


def test_two_pixels_reach_the_analytic_answers():
    image = jnp.full((1, 1, 2), 0.5)
    start = image + jnp.asarray([[[0.12, -0.033]]])
    images = plx.mad_competition_set(
        image, l2, l1, initial_image=start, max_steps=600, progress=False
    )
    fixed_l1, fixed_l2 = float(l1(image, start)), float(l2(image, start))
    wanted = {
        "metric1_min": fixed_l1 / 2**0.5,
        "metric2_min": fixed_l2,
        "metric1_max": fixed_l1,
        "metric2_max": 2**0.5 * fixed_l2,
    }
    for name, value in wanted.items():
        result = getattr(images, name)
        assert strays(result) < 1e-2
        np.testing.assert_allclose(
            result.trace.terms["optimized_metric"][-1], value, rtol=2e-3, err_msg=name
        )
    # Where the sum of magnitudes is largest, all are equal.
    magnitudes = np.abs(images.metric2_max.image - image)
    np.testing.assert_allclose(magnitudes[..., 0], magnitudes[..., 1], rtol=2e-3)


def test_the_unit_of_the_reference_metric_does_not_matter(getkey):
    def scaled(factor, image, other):
        return factor * jnp.sum((image - other) ** 2)

    image, key = jax.random.uniform(getkey(), (1, 6, 6)), getkey()
    results = [
        quietly(
            image,
            l1,
            jax.tree_util.Partial(scaled, jnp.asarray(factor, jnp.float32)),
            "max",
            key=key,
            solver=falling(0.02, 30),
            max_steps=30,
        )
        for factor in (1, 2.0**-80, 2.0**66)
    ]
    assert strays(results[0]) < 0.01
    for result in results[1:]:
        np.testing.assert_array_equal(result.image, results[0].image)


def test_images_of_large_range_reach_the_analytic_answers(getkey):
    rows, columns = np.indices((16, 16))
    board = np.where((rows // 4 + columns // 4) % 2, 25.5, 229.5)[None]
    image = jnp.asarray(board, jnp.float32)
    penalty = ft.partial(plx.regularize.penalize_range, allowed_range=(0.0, 255.0))
    options = {"initial_noise": 20.0, "solver": falling(2.0, 600), "max_steps": 600}
    box = plx.parametrize.Pixels(bounds=(0.0, 255.0))
    result = quietly(
        image, l2, l1, "min", None, penalty, key=getkey(), parametrization=box, **options
    )
    held = float(result.problem.reference_value)
    np.testing.assert_allclose(result.trace.terms["optimized_metric"][-1], held / 16, rtol=1e-3)
    # Without a box the range is left to the penalty.
    soft = quietly(image, l1, l2, "max", 10.0, penalty, key=getkey(), **options)
    value = soft.trace.terms["optimized_metric"][-1]
    np.testing.assert_allclose(value, 16 * soft.trace.terms["reference_metric"][-1], rtol=5e-3)
    assert soft.trace.penalties[-1] < 1e-3 * value


def test_images_out_of_the_box_of_a_constraint_are_refused(unchecked):
    image = jnp.full((1, 4, 4), 200.0)
    with pytest.raises(ValueError, match="Pixels"):
        plx.MADCompetition(image, l2, l1, "min", penalty_lambda=0)
    with pytest.warns(UserWarning, match="penalty that allows its range"):
        plx.MADCompetition(image, l2, l1, "min", 1.0)


def test_noise_has_the_value_of_the_reference_metric(photograph, getkey):
    for metric in (plx.metric.mse, ssim_distance):
        problem = plx.MADCompetition(photograph, l1, metric, "min", initial_noise=0.05)
        key = getkey()
        start = problem.initial_image(key)
        np.testing.assert_allclose(metric(photograph, start), problem.reference_value, rtol=1e-4)
        assert float(start.min()) >= 0
        assert float(start.max()) <= 1
        np.testing.assert_allclose(jnp.std(start - photograph), 0.05, rtol=0.1)
        np.testing.assert_array_equal(start, problem.initial_image(key))
        assert not np.array_equal(start, problem.initial_image(getkey()))
    exact = plx.MADCompetition(photograph, l1, plx.metric.mse, "min", 1.0, reference_value=0.02)
    mse = plx.metric.mse(photograph, exact.initial_image(getkey()))
    np.testing.assert_allclose(mse, 0.02, rtol=1e-4)


def test_the_set_holds_each_metric_and_stays_in_the_box(four, photograph):
    for result in four:
        assert strays(result) < 1e-3
        assert float(result.image.min()) >= 0
        assert float(result.image.max()) <= 1
        assert len(result.trace.terms["optimized_metric"]) == len(result.trace) + 1 == 401
    # All start from one image: what one competition optimizes, the other holds.
    for low, high, held in (
        (four.metric1_min, four.metric1_max, four.metric2_min),
        (four.metric2_min, four.metric2_max, four.metric1_min),
    ):
        start = float(held.problem.reference_value)
        optimized = [r.trace.terms["optimized_metric"] for r in (low, high)]
        np.testing.assert_allclose([values[0] for values in optimized], start, rtol=1e-4)
        assert optimized[0][-1] < 0.7 * start
        assert optimized[1][-1] > 1.4 * start
        assert [low.problem.minmax, high.problem.minmax] == ["min", "max"]
    for result, metric in ((four.metric1_max, ssim_distance), (four.metric2_min, plx.metric.mse)):
        final = metric(photograph, result.image)
        np.testing.assert_allclose(result.trace.terms["optimized_metric"][-1], final, rtol=1e-4)


def optimality(result, optimized, held):
    """The gradient left along the constraint, for free pixels, over the whole gradient."""
    image, target = np.asarray(result.image), result.problem.image
    ascent, normal = (np.asarray(jax.grad(m, 1)(target, result.image)) for m in (optimized, held))
    free = (image > 0) & (image < 1)
    multiplier = np.sum((ascent * normal)[free]) / np.sum(normal[free] ** 2)
    return np.linalg.norm((ascent - multiplier * normal)[free]) / np.linalg.norm(ascent)


def test_first_order_conditions_hold_at_the_end(four):
    metrics = ssim_distance, plx.metric.mse
    for name, result in four._asdict().items():
        found = optimality(result, *(metrics if name.startswith("metric1") else metrics[::-1]))
        assert found < 1e-2, name
        np.testing.assert_allclose(result.trace.terms["optimality"][-1], found, atol=2e-3)


def test_starts_agree_at_the_same_value_of_the_reference_metric(photograph, getkey):
    result = quietly(
        photograph,
        ssim_distance,
        plx.metric.mse,
        "max",
        key=getkey(),
        initial_noise=0.04,
        num_seeds=4,
        max_steps=250,
    )
    ends = [element.trace.terms["optimized_metric"][-1] for element in result]
    assert len({float(element.problem.reference_value) for element in result}) == 1
    assert max(strays(element) for element in result) < 1e-3
    assert np.ptp(ends) < 0.05 * np.mean(ends)
    starts = [element.trace.terms["optimized_metric"][0] for element in result]
    assert min(ends) > 1.2 * max(starts)


def test_start_from_any_image_and_from_a_result(photograph):
    darker = 0.8 * photograph
    first = quietly(
        photograph, ssim_distance, plx.metric.mse, "max", initial_image=darker, max_steps=5
    )
    held = plx.metric.mse(photograph, darker)
    np.testing.assert_allclose(first.problem.reference_value, held, rtol=1e-6)
    np.testing.assert_allclose(first.trace.terms["reference_metric"], held, rtol=1e-3)
    second = quietly(
        photograph, ssim_distance, plx.metric.mse, "max", initial_image=first, max_steps=5
    )
    np.testing.assert_allclose(
        second.trace.terms["optimized_metric"][0],
        first.trace.terms["optimized_metric"][-1],
        rtol=1e-4,
    )


def test_a_start_away_from_the_constraint_returns_to_it(photograph):
    problem = plx.MADCompetition(
        photograph, ssim_distance, plx.metric.mse, "max", reference_value=0.004
    )
    solver = plx.Solver(optax.adam(1e-3))
    state = plx.init(problem, solver, initial_image=0.5 * photograph)
    state, trace = plx.run(problem, solver, state, 20, progress=False)
    np.testing.assert_allclose(trace.terms["reference_metric"][-1], 0.004, rtol=1e-3)


def test_the_image_itself_as_start_stays_finite(photograph):
    for metrics in ((ssim_distance, plx.metric.mse), (l2, l1)):
        problem = plx.MADCompetition(photograph, *metrics, "max")
        solver = plx.Solver(optax.adam(0.01))
        state = plx.init(problem, solver, initial_image=photograph)
        state, trace = plx.run(problem, solver, state, 3, progress=False)
        assert np.isfinite(trace.losses).all()
        assert np.isfinite(trace.gradient_norm).all()
        assert np.isfinite(state.z).all()
    with pytest.raises(ValueError, match="0 at initial_image"):
        quietly(photograph, l2, l1, "max", initial_image=photograph)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_images_stay_finite(value, getkey):
    image = jnp.full((1, 12, 12), value)
    result = quietly(image, ssim_distance, plx.metric.mse, "max", key=getkey(), max_steps=10)
    assert np.isfinite(result.image).all()
    assert np.isfinite(result.trace.losses).all()
    assert strays(result) < 1e-2


def test_metrics_may_be_modules(getkey):
    image = jnp.full((1, 4, 4), 0.5)
    weights = jax.random.uniform(getkey(), (2, 1, 4, 4), minval=0.2)
    metrics = [
        plx.metric.model_metric_factory(jax.tree_util.Partial(jnp.multiply, w)) for w in weights
    ]
    result = quietly(image, *metrics, "min", key=getkey(), max_steps=400)
    assert eqx.tree_equal(result.problem.reference_metric, metrics[1])
    assert strays(result) < 1e-3
    # All of the difference goes where the first of the two weights is least of the second.
    least = float(jnp.min(weights[0] / weights[1]) * result.problem.reference_value)
    np.testing.assert_allclose(result.trace.terms["optimized_metric"][-1], least, rtol=2e-3)
    difference = np.abs(result.image - image)
    assert difference.argmax() == (weights[0] / weights[1]).argmin()


def test_batches_equal_their_singles(getkey):
    images = jax.random.uniform(getkey(), (2, 1, 12, 12))
    starts = jax.random.uniform(getkey(), (2, 1, 12, 12))
    together = quietly(images, l2, l1, "max", initial_image=starts, batch=True, max_steps=20)
    for index in range(2):
        alone = quietly(images[index], l2, l1, "max", initial_image=starts[index], max_steps=20)
        np.testing.assert_allclose(together[index].image, alone.image, atol=1e-4)
        np.testing.assert_allclose(
            together[index].problem.reference_value, alone.problem.reference_value, rtol=1e-6
        )


def test_a_posed_problem_runs_as_the_entry_function_does(photograph, getkey):
    key = getkey()
    problem = plx.MADCompetition(photograph, l2, l1, "min")
    state = plx.init(problem, falling(0.01, 12), key=key)
    state, trace = plx.run(problem, falling(0.01, 12), state, 12, progress=False)
    result = quietly(photograph, l2, l1, "min", key=key, max_steps=12)
    np.testing.assert_allclose(trace.losses, result.trace.losses, rtol=1e-4)
    assert result.status == plx.Status.step_limit


def test_penalties_join_what_is_optimized_along_the_constraint(photograph, getkey):
    def brightness(image):
        return jnp.mean(image)

    arguments = (photograph, l1, plx.metric.mse, "min", None, brightness)
    key = getkey()
    means = [
        float(quietly(*arguments, weight, key=key, max_steps=60).image.mean())
        for weight in (0.0, 1e5)
    ]
    assert means[1] < means[0] - 0.02


def test_checkpoints_resume(photograph, getkey, tmp_path):
    key, solver = getkey(), falling(0.01, 12)
    options = {"key": key, "solver": solver}
    whole = quietly(photograph, l2, l1, "max", max_steps=12, **options)
    path = tmp_path / "mad.npz"
    quietly(photograph, l2, l1, "max", max_steps=5, checkpoint=path, **options)
    resumed = quietly(photograph, l2, l1, "max", max_steps=12, checkpoint=path, **options)
    np.testing.assert_array_equal(resumed.image, whole.image)
    np.testing.assert_array_equal(
        resumed.trace.terms["reference_metric"], whole.trace.terms["reference_metric"]
    )


def test_sigmoid_parametrization_holds_the_metric_too(photograph, getkey):
    result = quietly(
        photograph,
        ssim_distance,
        plx.metric.mse,
        "max",
        key=getkey(),
        parametrization=plx.parametrize.Sigmoid(),
        max_steps=60,
        initial_noise=0.04,
    )
    assert strays(result) < 1e-2
    optimized = result.trace.terms["optimized_metric"]
    assert optimized[-1] > 1.2 * optimized[0]


def test_double_precision_end_to_end(x64):
    image = jnp.linspace(0.2, 0.8, 144, dtype=jnp.float64).reshape(1, 12, 12)
    result = quietly(image, l1, l2, "max", key=jax.random.key(3), max_steps=300)
    assert result.image.dtype == jnp.float64
    assert strays(result) < 1e-9
    value = 12 * float(result.problem.reference_value)
    np.testing.assert_allclose(result.trace.terms["optimized_metric"][-1], value, rtol=1e-4)


def test_bad_arguments_are_refused_with_a_sentence(photograph, unchecked, getkey):
    for options in ({"initial_noise": 0.0}, {"reference_value": -1.0}):
        with pytest.raises(ValueError, match="a finite number above 0"):
            plx.MADCompetition(photograph, l2, l1, "min", **options)
    with pytest.raises(ValueError, match="'min' or 'max'"):
        plx.MADCompetition(photograph, l2, l1, "minimum")
    with pytest.raises(ValueError, match="'auto'"):
        plx.MADCompetition(photograph, l2, l1, "min", "automatic")
    with pytest.raises(ValueError, match="one number"):
        plx.MADCompetition(photograph, lambda a, b: a - b, l1, "min")
    with pytest.raises(ValueError, match="distance"):
        plx.MADCompetition(photograph, l2, plx.metric.ssim, "min")
    with pytest.raises(TypeError, match="callable"):
        plx.MADCompetition(photograph, l2, 3, "min")
    with pytest.raises(ValueError, match="both"):
        quietly(photograph, l2, l1, "min", key=getkey(), initial_image=photograph / 2)
    with pytest.raises(ValueError, match="num_seeds"):
        quietly(photograph[None], l2, l1, "min", key=getkey(), batch=True, num_seeds=2)
    with pytest.raises(ValueError, match="key="):
        plx.mad_competition_set(photograph, l2, l1)


@pytest.mark.network
def test_reaches_beyond_the_images_of_wang_and_simoncelli():
    image = plx.load_images(plx.data.fetch_data("ssim_images.tar.gz") / "samp6.tif")
    distance = ft.partial(plx.metric.ssim_distance, weighted=True)
    unit = 255.0**2
    held_mse = {"reference_value": 128 / unit, "key": jax.random.key(0), "max_steps": 1000}
    held_ssim = {**held_mse, "reference_value": 1 - 0.8183184633106257}
    best = quietly(image, distance, plx.metric.mse, "min", **held_mse)
    worst = quietly(image, distance, plx.metric.mse, "max", **held_mse)
    assert 1 - distance(image, best.image) >= 0.9929
    assert 1 - distance(image, worst.image) <= 0.7441
    least = quietly(image, plx.metric.mse, distance, "min", **held_ssim)
    most = quietly(image, plx.metric.mse, distance, "max", **held_ssim)
    assert unit * plx.metric.mse(image, least.image) <= 107.04
    assert unit * plx.metric.mse(image, most.image) >= 1046.4


SCRIPT = """
import jax, jax.numpy as jnp, plenoptax as plx
traced, counts = [], []

def metric(image, other):
    traced.append(image)
    return jnp.sum((image - other) ** 4)

for name in ("brick", "grass", "gravel"):
    before = len(traced)
    plx.mad_competition(
        getattr(plx.data, name)()[:, :16, :16], metric, plx.metric.mse, "max",
        key=jax.random.key(0), max_steps=3, progress=False,
    )
    counts.append(len(traced) - before)
print(counts)
"""


def test_another_image_compiles_nothing():
    # In a process of its own: the type checks of the tests make a new function of each schedule.
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    # A known metric is traced once, to see whether it has changed.
    assert json.loads(done.stdout) == [4, 1, 1], done.stderr
