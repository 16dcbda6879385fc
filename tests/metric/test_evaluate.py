import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import plenoptax as plx
from plenoptax.metric import evaluate
from plenoptax.metric._agreement import fit_logistic, kendall, logistic, pearson, spearman


KEY = jax.random.key(0)


def distance(first, second):
    return jnp.abs(first - second).mean()


def make_study(rng, count=60):
    """Pairs of which the second is brighter, and scores that fall with it, with noise."""
    image = jnp.full((1, 16, 16), 0.25, jnp.float32)
    steps = rng.uniform(0.02, 0.5, count).astype(np.float32)
    scores = 5 / (1 + np.exp((steps - 0.2) / 0.08)) + 0.3 * rng.standard_normal(count)
    return [(image, image + step) for step in steps], steps, scores


@pytest.mark.parametrize("count", [6, 41, 300])
def test_correlations_equal_those_of_scipy(count, rng):
    x = rng.integers(0, max(3, count // 3), (8, count)).astype(float)
    y = x + rng.integers(0, count, (8, count))
    for ours, theirs in (
        (pearson, scipy.stats.pearsonr),
        (spearman, scipy.stats.spearmanr),
        (kendall, scipy.stats.kendalltau),
    ):
        wanted = [theirs(*rows).statistic for rows in zip(x, y, strict=True)]
        np.testing.assert_allclose(ours(x, y), wanted, atol=1e-12)
        assert np.isnan(ours(np.ones((1, count)), y[:1])).all()


def test_logistic_fit_equals_that_of_scipy(rng):
    x = rng.random((4, 80))
    y = 3 + 2 * np.tanh((0.4 - x) / 0.2) + 0.2 * rng.standard_normal(x.shape)
    found = fit_logistic(x, y)
    for i in range(4):

        def curve(x, *coefficients):
            return logistic(np.array([coefficients]), x[None])[0]

        start = [y[i].max(), y[i].min(), x[i].mean(), x[i].std()]
        wanted, _ = scipy.optimize.curve_fit(curve, x[i], y[i], start)
        np.testing.assert_allclose(curve(x[i], *found[i]), curve(x[i], *wanted), atol=1e-3)


def test_evaluation_equals_scipy_and_covers_by_distortion(rng):
    pairs, steps, scores = make_study(rng)
    kinds = ["bright", "brighter", "rare"]
    distortions = [kinds[i % 2] for i in range(57)] + [kinds[2]] * 3
    found = evaluate(distance, iter(pairs), scores, key=KEY, distortions=distortions)
    np.testing.assert_allclose(found.distances, steps, rtol=1e-5)
    overall = found.overall
    wanted = scipy.stats.spearmanr(-found.distances, scores).statistic
    assert overall.srcc.value == pytest.approx(wanted, abs=1e-12)
    wanted = scipy.stats.kendalltau(-found.distances, scores).statistic
    assert overall.krcc.value == pytest.approx(wanted, abs=1e-12)
    fitted = logistic(np.array([overall.coefficients]), found.distances[None])[0]
    wanted = scipy.stats.pearsonr(fitted, scores).statistic
    assert overall.plcc.value == pytest.approx(wanted, abs=1e-12)
    assert overall.plcc.value > scipy.stats.pearsonr(-found.distances, scores).statistic
    for estimate in (overall.srcc, overall.krcc, overall.plcc):
        assert estimate.low < estimate.value < estimate.high <= 1
    # Three pairs are too few for four coefficients.
    assert {name: part.count for name, part in found.by_distortion.items()} == {
        "bright": 29,
        "brighter": 28,
    }
    lines = str(found).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["all", "bright", "brighter"]
    assert f"{overall.srcc.value:.3f} [{overall.srcc.low:.3f}" in lines[2]


def test_intervals_are_those_of_the_bootstrap(rng):
    pairs, steps, scores = make_study(rng)
    found = evaluate(distance, pairs, scores, key=KEY, level=0.8).overall.srcc
    wanted = scipy.stats.bootstrap(
        (-steps, scores),
        lambda x, y: scipy.stats.spearmanr(x, y).statistic,
        paired=True,
        vectorized=False,
        n_resamples=1000,
        confidence_level=0.8,
        method="percentile",
        rng=rng,
    ).confidence_interval
    width = wanted.high - wanted.low
    assert abs(found.low - wanted.low) < 0.15 * width
    assert abs(found.high - wanted.high) < 0.15 * width
    assert found == evaluate(distance, pairs, scores, key=KEY, level=0.8).overall.srcc


def test_differences_of_scores_have_the_other_sign(rng):
    pairs, _, scores = make_study(rng, 20)
    options = {"key": KEY, "num_resamples": 0}
    up = evaluate(distance, pairs, scores, **options)
    down = evaluate(distance, pairs, 9 - scores, larger_is_better=False, **options)
    for name in ("srcc", "krcc", "plcc"):
        first, second = (getattr(found.overall, name) for found in (up, down))
        assert first.value == pytest.approx(second.value, abs=1e-6)
        assert np.isnan([first.low, first.high]).all()


def test_images_may_have_several_sizes(rng):
    images = [jnp.asarray(rng.random((1, n, n)), jnp.float32) for n in (16, 20, 16, 20, 16)]
    pairs = [(image, (1 - 0.1 * i) * image) for i, image in enumerate(images)]
    found = evaluate(plx.metric.mse, pairs, [5, 4, 3, 2, 1], key=KEY, num_resamples=10)
    assert found.overall.srcc.value == pytest.approx(1)


def test_what_does_not_fit_is_refused(rng):
    pairs, _, scores = make_study(rng, 6)
    with pytest.raises(ValueError, match=r"one number for each pair, got the shape \(5,\) for 6"):
        evaluate(distance, pairs, scores[1:], key=KEY)
    with pytest.raises(ValueError, match="at least 5 pairs, got 4"):
        evaluate(distance, pairs[:4], scores[:4], key=KEY)
    with pytest.raises(ValueError, match=r"must be a distance.*1 minus a similarity"):
        evaluate(plx.metric.ssim, pairs, scores, key=KEY)
    with pytest.raises(ValueError, match="distortions must have one entry"):
        evaluate(distance, pairs, scores, key=KEY, distortions=["noise"])
    with pytest.raises(ValueError, match="scores must be finite, got nan for pair 2"):
        evaluate(distance, pairs, [1, 2, np.nan, 4, 5, 6], key=KEY)
