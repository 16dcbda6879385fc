import dataclasses
import functools
import re
import types
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import plenoptax as plx
from plenoptax.data import natural_statistics
from plenoptax.synthesis._judge import judge, verdict
from plenoptax.synthesis._null import null_of_model
from plenoptax.synthesis._stopped import doubts_about_stop


SIZE = 128
PHASE_AND_MAGNITUDE = (
    "auto_correlation_magnitude",
    "cross_orientation_correlation_magnitude",
    "cross_scale_correlation_magnitude",
    "cross_scale_correlation_real",
)


def scramble_phases(image, key):
    """Noise with the amplitude spectrum of an image."""
    noise = jnp.fft.fft2(jax.random.normal(key, image.shape))
    phases = jnp.angle(noise).at[..., 0, 0].set(0.0)
    amplitudes = jnp.abs(jnp.fft.fft2(image))
    spectrum = jax.lax.complex(amplitudes * jnp.cos(phases), amplitudes * jnp.sin(phases))
    return jnp.fft.ifft2(spectrum).real


def at(problem, image, trace, solver=None):
    """The result of a synthesis that has come to an image."""
    state = plx.init(problem, solver or plx.lbfgs(), initial_image=image)
    return plx.Result(problem, state, trace, solver)


@pytest.fixture(scope="module")
def model():
    return plx.models.PortillaSimoncelli((SIZE, SIZE))


@pytest.fixture(scope="module")
def grass():
    return plx.data.grass()[:, :SIZE, 64 : 64 + SIZE]


@pytest.fixture(scope="module")
def result(model, grass):
    return plx.metamer(grass, model, key=jax.random.key(3), max_steps=100, progress=False)


def test_a_good_metamer_passes_in_every_group_and_its_success_is_unknown(result):
    report = result.report()
    assert report.success is None
    assert result.success is None
    judged = [name for name, group in report.groups.items() if group.passes is not None]
    assert set(PHASE_AND_MAGNITUDE) <= set(judged)
    for name in judged:
        group = report.groups[name]
        assert group.correlation > max(group.null_correlation, 0.9)
        assert group.rank_correlation > max(group.null_rank_correlation, 0.9)
        assert group.z_error < min(group.null_z_error, 0.5)
        assert group.percentile == 100
    text = " ".join(str(report).split())
    assert "the null is too small: 11 unrelated images (give report(null=...) at least 200)" in text
    assert report.null.startswith("images that come with PortillaSimoncelli: 84 images of 11 phot")
    assert report.null in text


def make_images(count, rng):
    """Images of disks over noise, each with its own sizes, contrasts and spectrum."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None]) + 1 / SIZE
    for _ in range(count):
        noise = np.fft.fft2(rng.standard_normal((SIZE, SIZE)))
        image = np.fft.ifft2(noise / frequency ** rng.uniform(0, 2)).real
        image = 0.5 + rng.uniform(0.02, 0.2) * image / image.std()
        for _ in range(rng.integers(0, 40)):
            middle, radius = rng.uniform(0, SIZE, 2), rng.uniform(2, 30)
            image[np.hypot(rows - middle[0], columns - middle[1]) < radius] = rng.random()
        yield np.clip(image, 0, 1)[None].astype(np.float32)


def test_success_needs_200_unrelated_images(result, model, grass, getkey, rng):
    images = np.stack([*make_images(200, rng)])
    null = plx.null(images, model, name="disks over noise")
    report = result.report(null=null)
    assert report.success is True
    assert re.search(r"success +yes: closer to the target than any two unrelated", str(report))
    assert "disks over noise, shape 1 x 128 x 128: 200 images, 19900 pairs" in report.null
    fewer = plx.null(images[:199], model)
    assert result.report(null=fewer).success is None
    # Two windows of one photograph are one photograph.
    assert result.report(null=plx.null(images, model, sources=[0, *range(199)])).success is None
    scrambled = at(result.problem, scramble_phases(grass, getkey()), result.trace)
    for one in (null, fewer):
        assert scrambled.report(null=one).success is False


def test_scrambled_phases_fail_in_the_magnitude_and_phase_groups(model, grass, getkey):
    scrambled = scramble_phases(grass, getkey())
    null = null_of_model(model, model(grass))
    groups = judge(model, model(scrambled), model(grass), null)
    failed = {name for name, group in groups.items() if group.passes is False}
    assert failed & {"auto_correlation_magnitude", "cross_orientation_correlation_magnitude"}
    assert "cross_scale_correlation_real" in failed
    assert verdict(groups, null) is False


def test_a_failed_run_reads_as_failed(result, model, grass):
    start = jax.random.uniform(jax.random.key(0), grass.shape)
    state = plx.init(result.problem, plx.lbfgs(), initial_image=start)
    state, trace = plx.run(result.problem, plx.lbfgs(), state, 3)
    failed = plx.Result(result.problem, state, trace)
    assert failed.success is False
    report = failed.report()
    assert not report.groups["cross_scale_correlation_real"].passes
    assert re.search(r"success +no: not closer to the target than unrelated images", str(report))


def test_a_plateau_is_not_success(result):
    never = plx.Solver(plx.lbfgs(), stop=plx.stop.LossChange(1e9, window=2))
    start = jax.random.uniform(jax.random.key(0), result.image.shape)
    state = plx.init(result.problem, never, initial_image=start)
    state, trace = plx.run(result.problem, never, state, 10)
    stuck = plx.Result(result.problem, state, trace)
    assert bool(stuck.status == plx.Status.plateau)
    assert stuck.success is False


def test_unrelated_photographs_are_uncorrelated_in_z_scores():
    natural = natural_statistics()
    correlations = np.corrcoef(natural.z_scores)
    unrelated = natural.sources[:, None] != natural.sources[None, :]
    assert abs(np.median(correlations[unrelated])) < 0.1
    raw = natural.z_scores * natural.standard_deviation + natural.mean
    assert np.median(np.corrcoef(raw)[unrelated]) > 0.6


def test_the_bounds_are_those_of_the_closest_unrelated_images(model, grass):
    natural = natural_statistics()
    groups = judge(model, model(grass), model(grass), null_of_model(model, model(grass)))
    members = np.asarray(model.statistic_groups) == "cross_scale_correlation_real"
    rows = natural.z_scores[:, members]
    pairs = [
        (np.corrcoef(a, b)[0, 1], scipy.stats.spearmanr(a, b)[0], np.sqrt(np.mean((a - b) ** 2)))
        for i, a in enumerate(rows)
        for j, b in enumerate(rows[:i])
        if natural.sources[i] != natural.sources[j]
    ]
    correlations, rank_correlations, distances = np.transpose(pairs)
    found = groups["cross_scale_correlation_real"]
    np.testing.assert_allclose(found.null_correlation, correlations.max(), rtol=1e-6)
    np.testing.assert_allclose(found.null_rank_correlation, rank_correlations.max(), rtol=1e-6)
    np.testing.assert_allclose(found.null_z_error, distances.min(), rtol=1e-6)


def test_a_high_correlation_alone_does_not_pass(model, grass):
    null = null_of_model(model, model(grass))
    target = np.asarray(model(grass))
    # Twice as far from the mean of natural images: the same pattern, another texture.
    far = null.mean + 2 * (target - null.mean)
    groups = judge(model, far, target, null)
    group = groups["auto_correlation_magnitude"]
    assert group.correlation == pytest.approx(1)
    assert group.z_error > group.null_z_error
    assert group.passes is False
    assert verdict(groups, null) is False


def test_weighted_models_are_judged_by_what_they_keep(model, grass):
    weights = {"auto_correlation_magnitude": 0.0, "magnitude_std": -3.0}
    weighted = plx.models.PortillaSimoncelli((SIZE, SIZE), weights=weights)
    other = plx.data.brick()[:, :SIZE, :SIZE]
    found = judge(
        weighted, weighted(other), weighted(grass), null_of_model(weighted, weighted(grass))
    )
    wanted = judge(model, model(other), model(grass), null_of_model(model, model(grass)))
    ablated = found.pop("auto_correlation_magnitude")
    assert ablated.size == 0
    assert ablated.passes is None
    for name, group in found.items():
        np.testing.assert_allclose(group.z_error, wanted[name].z_error, rtol=1e-4)
        np.testing.assert_allclose(group.correlation, wanted[name].correlation, rtol=1e-4)
        assert group.passes == wanted[name].passes
    assert verdict(found, null_of_model(weighted, weighted(grass))) is False


def test_natural_statistics_are_those_of_the_model(model):
    natural = natural_statistics()
    assert natural.mean.shape == (model.num_statistics,)
    # Windows of the photographs that come with the package, at half of the scale there.
    images = [getattr(plx.data, name)()[:, :SIZE, :SIZE] for name in ("brick", "camera", "gravel")]
    z_scores = [(model(image)[0] - natural.mean) / natural.standard_deviation for image in images]
    assert np.sqrt(np.mean(np.square(z_scores))) < 3


def test_other_models_need_images_for_a_null(getkey):
    model, image = plx.models.Gaussian(7), plx.data.camera()[:, 60:92, 60:92]
    result = plx.metamer(
        image, model, key=getkey(), max_steps=300, optimizer=optax.adam(0.03), progress=False
    )
    assert result.success is None
    assert "unknown" in str(result.report())
    windows = [(name, i) for name in plx.data.PHOTOGRAPHS for i in (0, 80, 160)]
    images = jnp.stack(
        [plx.data.get(name, as_gray=True)[:, i : i + 32, i : i + 32] for name, i in windows]
    )
    report = result.report(null=images)
    assert report.success is None
    assert all(group.passes for group in report.groups.values())
    assert report.groups["representation"].size == 32 * 32
    worse = plx.Result(
        result.problem, plx.init(result.problem, plx.lbfgs(), key=getkey()), result.trace
    )
    assert worse.report(null=images).success is False
    with pytest.raises(ValueError, match="at least 8"):
        result.report(null=images[:3])


def test_groups_of_trees_and_complex_numbers():
    def model(image):
        return {"a": image[0], "b": jax.lax.complex(image[0, :2], image[0, 2:])}

    groups = judge(model, model(jnp.ones((1, 4, 4))), model(2 * jnp.ones((1, 4, 4))), None)
    assert {name: group.size for name, group in groups.items()} == {"a": 16, "b": 16}
    assert groups["a"].relative_error == pytest.approx(0.5)
    assert verdict(groups, None) is None


def test_color_is_not_judged_by_gray_photographs(result, model, grass):
    color = jnp.concatenate([grass, 0.5 * grass, plx.data.brick()[:, :SIZE, :SIZE]])
    with pytest.warns(UserWarning, match="channels alone"):
        problem = plx.Metamer(color, model, plx.loss.mse)
    found = at(problem, color[::-1], result.trace)
    assert found.success is None
    text = " ".join(str(found.report()).split())
    assert "success unknown: the model measures each of the 3 channels alone" in text
    assert "the null consists of gray photographs" in text
    assert "Pearson" not in text
    wanted = np.corrcoef(np.asarray(color).reshape(3, -1))
    correlations = found.report().channel_correlations
    np.testing.assert_allclose(correlations["0 and 2"], [wanted[0, 2], wanted[2, 0]], atol=1e-6)
    np.testing.assert_allclose(correlations["0 and 1"], [1, wanted[2, 1]], atol=1e-6)
    assert re.search(rf"0 and 1 +1.000 +{wanted[2, 1]:.3f}", text)


def test_a_nonfinite_run_has_failed(result):
    state = eqx.tree_at(lambda s: s.status, result.state, plx.Status.nonfinite)
    report = dataclasses.replace(result, state=state).report()
    assert report.success is False


def test_restarts_are_compared(getkey):
    image = plx.data.camera()[:, 60:92, 60:92]
    result = plx.metamer(
        image, plx.models.Gaussian(7), key=getkey(), num_seeds=3, max_steps=40, progress=False
    )
    report = result.report()
    rows = np.asarray(result.image).reshape(3, -1)
    wanted = [np.sqrt(np.mean((rows[i] - rows[j]) ** 2)) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(report.pixel_distances, wanted, rtol=1e-5)
    assert report.best == np.argmin([element.trace.losses[-1] for element in result])
    assert np.isnan(report.success_rate)
    assert "RMS between seeds" in str(report)


@pytest.mark.parametrize("start", ["noise", "target"])
@pytest.mark.parametrize("num_seeds", [None, 2])
def test_a_report_prints_no_nan(start, num_seeds, getkey):
    # A blur has no null; the gradient at the target is 0; and no range is allowed.
    image = 2 * plx.data.camera()[:, 60:76, 60:76]
    given = {"key": getkey()} if start == "noise" else {"initial_image": image}
    result = plx.metamer(
        image,
        plx.models.Gaussian(3),
        penalty_function=plx.regularize.penalize_total_variation,
        penalty_lambda=0.0,
        num_seeds=num_seeds,
        max_steps=2,
        progress=False,
        **given,
    )
    text = str(result.report())
    assert "nan" not in text.lower()
    assert ("rel. error" in text) == (num_seeds is None)


def test_reports_cite_method_and_model(result):
    bibtex = result.report().bibtex
    assert "portilla2000parametric" in bibtex
    assert "freeman2011metamers" in bibtex
    assert bibtex.count("@article") == 2
    assert bibtex.count("{") == bibtex.count("}")
    assert result.citations() == bibtex


class Cited(eqx.Module):
    citation: ClassVar[str] = "@misc{cited}"

    def __call__(self, image):
        return jnp.sin(image)


@pytest.mark.parametrize("wrap", [lambda model: model, eqx.filter_jit, functools.partial])
def test_models_and_metrics_of_others_are_cited_too(wrap, getkey):
    image, model = plx.data.camera()[:, 100:132, 100:132], wrap(Cited())
    options = {"key": getkey(), "max_steps": 1, "progress": False}
    bibtex = plx.metamer(image, model, **options).report().bibtex
    assert bibtex.endswith("\n\n@misc{cited}")
    batch = plx.metamer(image, model, num_seeds=2, **options)
    assert batch.citations() == bibtex
    found = plx.eigendistortions(image[:, :8, :8], model, progress=False)
    assert found.report().bibtex.endswith("\n\n@misc{cited}")
    metric = plx.metric.model_metric_factory(Cited())
    competition = plx.mad_competition(image, wrap(plx.metric.nlpd), metric, "max", **options)
    entries = competition.report().bibtex.split("\n\n")
    assert [re.match(r"@\w+{(\w+)", entry).group(1) for entry in entries] == [
        "wang2008maximum",
        "laparra2016perceptual",
        "cited",
    ]


def test_each_paper_is_cited_once(getkey):
    image = plx.data.camera()[:, 100:132, 100:132]
    model = plx.models.OnOff(7, key=getkey())
    bibtex = plx.eigendistortions(image[:, :8, :8], model, progress=False).report().bibtex
    assert bibtex.count("@") == bibtex.count("berardino2017eigen") == 1


def test_reports_tell_how_the_image_came_about(result):
    facts = result.report().provenance
    assert facts["num_evaluations"] > 0
    assert facts["key"] is not None
    assert {"jax", "plenoptax"} <= set(facts["versions"])
    assert facts["wall_time"] > 0


def test_reports_name_the_loss(result, getkey):
    words = result.report().provenance["problem"]["loss_function"]
    assert words.startswith("WhitenedLoss(base=WeightedL2Norm(")
    assert f"loss function {words}" in text_of(result)
    image = plx.data.camera()[:, 100:116, 100:116]
    other = plx.metamer(
        image, plx.models.Gaussian(5), plx.loss.l2_norm, key=getkey(), max_steps=2, progress=False
    )
    assert "loss function l2_norm" in text_of(other)
    assert "loss function" not in text_of(_synthesize("objective", image, getkey()))


def _synthesize(method, image, key):
    options = {"max_steps": 3, "progress": False}
    if method == "mad":
        metrics = plx.metric.ssim_distance, plx.metric.mse
        return plx.mad_competition(image, *metrics, "max", key=key, **options)
    if method == "objective":
        return plx.synthesize(_darkness, image.shape, key=key, **options)
    path = plx.geodesic(image, image[:, ::-1], plx.models.Gaussian(5), n_steps=3, **options)
    return path if method == "geodesic" else plx.conditional_geodesic(path, **options)


def _darkness(image):
    return jnp.mean(image)


@pytest.mark.parametrize("method", ["mad", "geodesic", "conditional_geodesic", "objective"])
def test_what_has_no_target_is_reported_and_not_judged(method, getkey):
    image = plx.data.camera()[:, 100:116, 100:116]
    result = _synthesize(method, image, getkey())
    report = result.report()
    assert report.success is None
    assert re.search(r"success +unknown: the problem has no target", str(report))
    assert report.num_steps == len(result.trace)
    with pytest.raises(ValueError, match="must have a target"):
        result.report(null=jnp.stack([image] * 8))


def test_reports_of_competitions_tell_metrics_and_optimality(getkey):
    image = plx.data.camera()[:, 100:116, 100:116]
    result = _synthesize("mad", image, getkey())
    terms = result.report().terms
    np.testing.assert_allclose(terms["reference_metric"], result.problem.reference_value, rtol=1e-4)
    np.testing.assert_allclose(
        terms["optimized_metric"], plx.metric.ssim_distance(image, result.image), rtol=1e-4
    )
    assert terms["optimality"] > 0
    wanted = np.sqrt(np.mean(np.square(np.asarray(result.image - image, np.float64))))
    np.testing.assert_allclose(result.report().distance, wanted, rtol=1e-6)
    assert f"RMS to reference {wanted:.3g} in pixel values" in text_of(result)
    assert re.search(rf"optimality +{terms['optimality']:.6g}", str(result.report()))


def test_reports_of_competitions_cite_their_metrics(getkey):
    result = plx.mad_competition(
        plx.data.camera()[:, 100:116, 100:116],
        functools.partial(plx.metric.ssim_distance, weighted=True),
        plx.metric.model_metric_factory(plx.models.OnOff(7, key=getkey())),
        "max",
        key=getkey(),
        max_steps=1,
        progress=False,
    )
    bibtex = result.report().bibtex
    for entry in ("wang2008maximum", "wang2004image", "berardino2017eigen"):
        assert entry in bibtex
    assert bibtex.count("doi = ") == 2


@pytest.fixture(scope="module")
def short():
    """A few steps of a small synthesis, from noise."""
    image = plx.data.camera()[:, 96:112, 96:116]
    return plx.metamer(
        image, plx.models.Gaussian(5), key=jax.random.key(0), max_steps=3, progress=False
    )


def apart(image, by):
    """An image at a root mean square distance from another."""
    signs = jnp.where(jnp.arange(image.shape[-1]) % 2 == 0, 1.0, -1.0).astype(image.dtype)
    return image + by * jnp.broadcast_to(signs, image.shape)


def text_of(result):
    return " ".join(str(result.report()).split())


@pytest.mark.parametrize("by", [0.01, 0.002, 0.0019, 0.0])
def test_the_distance_from_the_target_is_told_in_pixel_values_and_gray_levels(by, short):
    target = short.problem.image
    found = at(short.problem, apart(target, by), short.trace)
    np.testing.assert_allclose(found.report().distance, by, atol=1e-7)
    distance = found.report().distance
    told = f"RMS to target {distance:.3g} in pixel values, {255 * distance:.3g} gray levels of 8"
    assert told in text_of(found)
    is_target = by < 1 / 510
    assert found.success is (False if is_target else None)
    assert ("success no: this image is visually the target" in text_of(found)) is is_target
    assert ("visually the same image" in text_of(found)) is is_target


def test_a_model_that_leaves_no_metamer_does_not_succeed(short, getkey):
    """Twice as many responses as pixels: what matches them is the target."""
    model, target = plx.models.OnOff(5, key=getkey()), short.problem.image
    result = plx.metamer(
        target,
        model,
        initial_image=apart(target, 0.01),
        solver=plx.Solver(plx.lbfgs(), plx.stop.RelativeLossChange()),
        max_steps=100,
        progress=False,
    )
    assert result.report().distance < 1 / 510 < 0.01
    assert result.success is False
    nulls = jax.random.uniform(getkey(), (8, *target.shape))
    assert result.report(null=nulls).success is False
    assert all(group.passes for group in result.report(null=nulls).groups.values())


@pytest.mark.parametrize("high", [1.0, 2.0])
def test_gray_levels_and_violations_are_of_the_range_of_the_penalty(high, short):
    penalty = functools.partial(plx.regularize.penalize_range, allowed_range=(-high, high))
    problem = plx.Metamer(short.problem.image, plx.models.Gaussian(5), None, penalty)
    report = at(problem, apart(problem.image, 0.005), short.trace).report()
    text = " ".join(str(report).split())
    assert report.pixel_range == (-high, high)
    assert f"0.005 in pixel values, {report.distance * 255 / (2 * high):.3g} gray levels" in text
    assert f"within [-{high:g}, {high:g}]" in text
    assert report.success is (False if high == 2 else None)
    report = at(problem, problem.image.at[0, 0, 0].set(high + 0.25), short.trace).report()
    np.testing.assert_allclose(report.range_violation, 0.25, rtol=1e-5)
    assert f"leaves [-{high:g}, {high:g}] by at most 0.25" in str(report)


def test_without_a_range_there_are_no_gray_levels(short):
    sound = 3 * short.problem.image - 1
    problem = plx.Metamer(sound, plx.models.Gaussian(5), penalty_lambda=0.0)
    found = at(problem, apart(sound, 1e-5), short.trace)
    assert "RMS to target 1e-05 in pixel values" in text_of(found)
    assert "gray levels" not in text_of(found)
    assert "range" not in text_of(found)
    assert found.success is None
    # A photograph has the range that all images have.
    problem = plx.Metamer(short.problem.image, plx.models.Gaussian(5), penalty_lambda=0.0)
    assert at(problem, problem.image, short.trace).report().pixel_range == (0.0, 1.0)


def test_what_has_no_target_image_has_no_distance_from_one(short):
    model, image = plx.models.Gaussian(5), short.problem.image
    mixture = 0.5 * (model(image) + model(image[:, ::-1]))
    problem = plx.Metamer(image, model, target_representation=mixture)
    report = at(problem, image, short.trace).report()
    assert report.compared_with is None
    assert "RMS" not in str(report)
    # What is given, but is the image's own, changes nothing.
    problem = plx.Metamer(image, model, target_representation=eqx.filter_jit(model)(image))
    assert at(problem, image, short.trace).report().distance == 0


def test_images_of_another_shape_have_no_distance(short):
    problem = plx.Metamer(short.problem.image, _darkness)
    with pytest.warns(UserWarning, match="shape"):
        found = at(problem, problem.image[:, :8], short.trace)
    assert "RMS to target not defined: the target has another shape" in text_of(found)
    assert found.success is None


def test_seeds_are_told_from_each_other_and_targets_are_not(short):
    problem, target = short.problem, short.problem.image

    def batch_at(problems, images):
        state = plx.init(problems, plx.lbfgs(), initial_image=images)
        trace = plx.BatchedTrace((short.trace,) * len(images))
        return plx.Result(problems, state, trace)

    seeds = plx.batch(lambda _: problem, jnp.arange(3))
    images = jnp.stack([apart(target, by) for by in (0.01, 0.02, 0.04)])
    told = "RMS between seeds 0.01 to 0.03 in pixel values, 2.55 to 7.65 gray levels of 8 bits"
    assert told in text_of(batch_at(seeds, images))
    alike = jnp.stack([apart(target, by) for by in (0.01, 0.011, 0.0115)])
    text = text_of(batch_at(seeds, alike))
    assert (
        "0.0005 to 0.0015 in pixel values, 0.128 to 0.382 gray levels of 8 bits: visually" in text
    )
    assert text.count("versions") == 1
    assert "seeds 3, success: 3 unknown" in text
    targets = plx.batch(lambda image: plx.Metamer(image, problem.model), images)
    found = batch_at(targets, images.at[0].add(0.5))
    text = text_of(found)
    assert "RMS between seeds" not in text
    assert "elements 3, success: 2 no, 1 unknown" in text
    assert "criterion [0] no null" in text
    assert "[1, 2] this image is visually the target" in text
    # One row for each element.
    *_, head, first, second, third = str(found.report()).splitlines()
    assert re.split(" {2,}", head) == [
        "element",
        "success",
        "first loss",
        "last loss",
        "gradient",
        "steps",
        "out of range",
        "RMS",
    ]
    rows = [row.split() for row in (first, second, third)]
    assert [row[:2] for row in rows] == [["0", "unknown"], ["1", "no"], ["2", "no"]]
    assert float(rows[0][-1]) == pytest.approx(0.5, abs=1e-3)
    assert [float(row[-1]) for row in rows[1:]] == pytest.approx([0, 0], abs=1e-5)


def test_channels_of_any_model_are_compared(short, rng):
    """Whatever the model; a constant channel correlates with nothing."""
    image = jnp.asarray(rng.random((2, 8, 9)), jnp.float32).at[1].set(0.5)
    result = at(plx.Metamer(image, jnp.sin), 1 - image, short.trace)
    ((before, after),) = result.report().channel_correlations.values()
    assert np.isnan([before, after]).all()
    assert re.search(r"channels +target +result\n0 and 1 +- +-\n", str(result.report()))


def test_gray_images_have_no_correlations_of_channels(short):
    assert short.report().channel_correlations == {}
    assert "channels" not in str(short.report())


def small(image):
    return 1e-3 * image


def test_an_absolute_rule_that_fires_on_a_small_loss_is_doubted():
    image = jnp.full((1, 4, 4), 0.5)
    result = plx.metamer(image, small, initial_image=image + 0.02, max_steps=60, progress=False)
    assert bool(result.status == plx.Status.plateau)
    assert len(result.trace) == 51
    (caution,) = result.report().cautions
    assert caution in text_of(result)
    assert "LossChange(0.0001, window=50)" in caution
    assert f"began at {result.trace.losses[0]:.3g}, below its tolerance" in caution
    assert "plx.stop.RelativeLossChange()" in caution


def doubts(short, rule, losses, moves=None, status=plx.Status.plateau):
    """What is said of a run of these losses whose rule was shown all that were accepted."""
    losses = np.asarray(losses, np.float32)
    accepted = np.isfinite(losses)
    moves = np.ones(len(losses), np.float32) if moves is None else np.asarray(moves, np.float32)
    memory = rule.init(jnp.dtype("float32"))
    for loss, move in zip(losses[accepted], moves[accepted], strict=True):
        info = {"loss": jnp.asarray(loss), "pixel_change_norm": jnp.asarray(move)}
        memory = rule.update(memory, types.SimpleNamespace(**info))
    infos = dataclasses.replace(
        short.trace.infos,
        loss=np.append(losses, losses[-1]),
        accepted=np.append(accepted, True),
        pixel_change_norm=np.append(moves, moves[-1]),
    )
    trace = dataclasses.replace(short.trace, infos=infos)
    state = eqx.tree_at(
        lambda s: (s.status, s.stop_state),
        plx.init(short.problem, plx.Solver(plx.lbfgs(), rule), initial_image=short.problem.image),
        (status, memory),
    )
    return " ".join(doubts_about_stop(plx.Solver(plx.lbfgs(), rule), state, trace))


@pytest.mark.parametrize(
    ("tolerance", "told"), [(2.0, "below its"), (0.2, "less than ten times its"), (0.05, None)]
)
def test_how_small_is_measured_in_tolerances(tolerance, told, short):
    # A trial that was rejected counts for nothing.
    losses, rule = [np.inf, -1.0, -0.99, -0.98, -0.97], plx.stop.LossChange(tolerance, window=3)
    said = doubts(short, rule, losses)
    assert told in said if told else said == ""
    combined = plx.stop.LossChange(1e-9, window=2) | (plx.stop.Never() | rule)
    assert doubts(short, combined, losses) == said
    assert doubts(short, rule, losses, status=plx.Status.step_limit) == ""


def test_other_rules_are_not_doubted(short):
    for rule in (plx.stop.RelativeLossChange(0.5, 3), plx.stop.LossChange(2.0, window=9)):
        assert doubts(short, rule, [1e-9] * 5) == ""
    # The trace begins after the rule did: nothing is known of the start.
    rule = plx.stop.LossChange(2.0, window=3)
    state = plx.init(short.problem, plx.Solver(plx.lbfgs(), rule), initial_image=short.image)
    full = plx.stop.Window(jnp.ones(3), jnp.asarray(9))
    fired = eqx.tree_at(lambda s: (s.status, s.stop_state), state, (plx.Status.plateau, full))
    assert doubts_about_stop(plx.Solver(plx.lbfgs(), rule), fired, short.trace) == []
    assert doubts_about_stop(None, fired, short.trace) == []


def test_steps_that_were_always_small_are_doubted(short):
    rule = plx.stop.PixelChange(0.1, window=3)
    told = "PixelChange(0.1, window=3) stopped it, but no step since the start moved the image"
    assert told in doubts(short, rule, [1.0] * 5, moves=[0.01] * 5)
    assert doubts(short, rule, [1.0] * 5, moves=[0.5, *[0.01] * 4]) == ""


def test_the_last_stage_is_judged_from_its_own_start(short):
    """A rule that starts anew has seen only what came since."""
    rule = plx.stop.LossChange(0.2, window=3)
    state = plx.init(short.problem, plx.Solver(plx.lbfgs(), rule), initial_image=short.image)
    memory = plx.stop.Window(jnp.full(3, 0.1), jnp.asarray(4))
    fired = eqx.tree_at(lambda s: (s.status, s.stop_state), state, (plx.Status.plateau, memory))
    losses = np.asarray([50.0, 20.0, 10.0, 0.15, 0.1, 0.1, 0.1, 0.1])
    infos = dataclasses.replace(short.trace.infos, loss=losses, accepted=np.ones(8, bool))
    trace = dataclasses.replace(short.trace, infos=infos)
    (said,) = doubts_about_stop(plx.Solver(plx.lbfgs(), rule), fired, trace)
    assert "began at 0.15, below its tolerance" in said
