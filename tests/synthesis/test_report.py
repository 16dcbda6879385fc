import dataclasses
import functools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import plenoptax as plx
from plenoptax.data import natural_statistics
from plenoptax.synthesis._judge import judge, null_of, verdict


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


@pytest.fixture(scope="module")
def model():
    return plx.models.PortillaSimoncelli((SIZE, SIZE))


@pytest.fixture(scope="module")
def grass():
    return plx.data.grass()[:, :SIZE, 64 : 64 + SIZE]


@pytest.fixture(scope="module")
def result(model, grass):
    return plx.metamer(grass, model, key=jax.random.key(3), max_steps=100, progress=False)


def test_a_good_metamer_succeeds(result):
    report = result.report()
    assert report.success is True
    assert result.success is True
    judged = [name for name, group in report.groups.items() if group.passes is not None]
    assert set(PHASE_AND_MAGNITUDE) <= set(judged)
    for name in judged:
        group = report.groups[name]
        assert group.correlation > max(group.null_correlation, 0.9)
        assert group.rank_correlation > max(group.null_rank_correlation, 0.9)
        assert group.z_error < min(group.null_z_error, 0.5)
    assert re.search(r"success +yes", str(report))
    assert "weak: " in report.null
    assert report.null in str(report)


def test_scrambled_phases_fail_in_the_magnitude_and_phase_groups(model, grass, getkey):
    scrambled = scramble_phases(grass, getkey())
    groups = judge(model, model(scrambled), model(grass), null_of(model, None))
    failed = {name for name, group in groups.items() if group.passes is False}
    assert failed & {"auto_correlation_magnitude", "cross_orientation_correlation_magnitude"}
    assert "cross_scale_correlation_real" in failed
    assert verdict(groups) is False


def test_a_failed_run_reads_as_failed(result, model, grass):
    start = jax.random.uniform(jax.random.key(0), grass.shape)
    state = plx.init(result.problem, plx.lbfgs(), initial_image=start)
    state, trace = plx.run(result.problem, plx.lbfgs(), state, 3)
    failed = plx.Result(result.problem, state, trace)
    assert failed.success is False
    report = failed.report()
    assert not report.groups["cross_scale_correlation_real"].passes
    assert re.search(r"success +no: no more like the target than unrelated images", str(report))


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
    groups = judge(model, model(grass), model(grass), null_of(model, None))
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
    null = null_of(model, None)
    target = np.asarray(model(grass))
    # Twice as far from the mean of natural images: the same pattern, another texture.
    far = null.mean + 2 * (target - null.mean)
    groups = judge(model, far, target, null)
    group = groups["auto_correlation_magnitude"]
    assert group.correlation == pytest.approx(1)
    assert group.z_error > group.null_z_error
    assert group.passes is False
    assert verdict(groups) is False


def test_weighted_models_are_judged_by_what_they_keep(model, grass):
    weights = {"auto_correlation_magnitude": 0.0, "magnitude_std": -3.0}
    weighted = plx.models.PortillaSimoncelli((SIZE, SIZE), weights=weights)
    other = plx.data.brick()[:, :SIZE, :SIZE]
    found = judge(weighted, weighted(other), weighted(grass), null_of(weighted, None))
    wanted = judge(model, model(other), model(grass), null_of(model, None))
    ablated = found.pop("auto_correlation_magnitude")
    assert ablated.size == 0
    assert ablated.passes is None
    for name, group in found.items():
        np.testing.assert_allclose(group.z_error, wanted[name].z_error, rtol=1e-4)
        np.testing.assert_allclose(group.correlation, wanted[name].correlation, rtol=1e-4)
        assert group.passes == wanted[name].passes
    assert verdict(found) is False


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
    null_images = jnp.stack(
        [
            plx.data.get(name, as_gray=True)[:, i : i + 32, i : i + 32]
            for name in plx.data.PHOTOGRAPHS
            for i in (0, 80, 160)
        ]
    )
    report = result.report(null_images=null_images)
    assert report.success is True
    assert report.groups["representation"].size == 32 * 32
    worse = plx.Result(
        result.problem, plx.init(result.problem, plx.lbfgs(), key=getkey()), result.trace
    )
    assert worse.report(null_images=null_images).success is False
    with pytest.raises(ValueError, match="at least 8"):
        result.report(null_images=null_images[:3])


def test_groups_of_trees_and_complex_numbers():
    def model(image):
        return {"a": image[0], "b": jax.lax.complex(image[0, :2], image[0, 2:])}

    groups = judge(model, model(jnp.ones((1, 4, 4))), model(2 * jnp.ones((1, 4, 4))), None)
    assert {name: group.size for name, group in groups.items()} == {"['a']": 16, "['b']": 16}
    assert groups["['a']"].relative_error == pytest.approx(0.5)
    assert verdict(groups) is None


def test_channels_share_the_null(model, grass):
    two = jnp.concatenate([grass, plx.data.brick()[:, :SIZE, :SIZE]])
    groups = judge(model, model(two), model(two), null_of(model, None))
    assert groups["pixel_statistics"].size == 12
    assert groups["cross_scale_correlation_real"].correlation == pytest.approx(1)
    assert verdict(groups) is True


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
    assert "apart by" in str(report)


def test_reports_cite_method_and_model(result):
    bibtex = result.report().bibtex
    assert "portilla2000parametric" in bibtex
    assert "freeman2011metamers" in bibtex
    assert bibtex.count("@article") == 2
    assert bibtex.count("{") == bibtex.count("}")


def test_reports_tell_how_the_image_came_about(result):
    facts = result.report().provenance
    assert facts["num_evaluations"] > 0
    assert facts["key"] is not None
    assert {"jax", "plenoptax"} <= set(facts["versions"])
    assert facts["wall_time"] > 0


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
    assert re.search(r"success +unknown: there is no target", str(report))
    assert report.num_steps == len(result.trace)
    with pytest.raises(ValueError, match="has no target"):
        result.report(null_images=jnp.stack([image] * 8))


def test_reports_of_competitions_tell_metrics_and_optimality(getkey):
    image = plx.data.camera()[:, 100:116, 100:116]
    result = _synthesize("mad", image, getkey())
    terms = result.report().terms
    np.testing.assert_allclose(terms["reference_metric"], result.problem.reference_value, rtol=1e-4)
    np.testing.assert_allclose(
        terms["optimized_metric"], plx.metric.ssim_distance(image, result.image), rtol=1e-4
    )
    assert terms["optimality"] > 0
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
