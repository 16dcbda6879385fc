import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx

from .competitions import l1, l2, quietly, ssim_distance


REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "mad.npz"


def test_penalized_objective_is_the_formula():
    image, other = jnp.zeros((1, 1, 2)), jnp.asarray([[[0.5, 1.25]]])
    for minmax, sign in (("min", 1), ("max", -1)):
        problem = plx.MADCompetition(
            image, l1, plx.metric.mse, minmax, 10.0, penalty_lambda=3.0, reference_value=1.0
        )
        # The mean squared error is half of 0.25 plus 1.5625.
        wanted = sign * 1.75 + 10 * (1 - 0.90625) ** 2 + 3 * 0.25**2
        np.testing.assert_allclose(problem.objective_function(other), wanted, rtol=1e-6)
        loss, terms = problem.objective(problem.encode(other), problem.start())
        np.testing.assert_allclose(loss, wanted, rtol=1e-6)
        np.testing.assert_allclose(terms["optimized_metric"], 1.75)
        np.testing.assert_allclose(terms["reference_metric"], 0.90625)
        np.testing.assert_allclose(terms["penalty"], 0.0625)
        assert problem.minmax == minmax
    held = plx.MADCompetition(image, l1, plx.metric.mse, "max", penalty_lambda=3.0)
    np.testing.assert_allclose(held.objective_function(other), -1.75 + 3 * 0.0625, rtol=1e-6)


def test_automatic_weight_is_a_power_of_ten_and_warns(photograph):
    with pytest.warns(UserWarning, match="balance the metrics: 0.1"):
        problem = plx.MADCompetition(photograph, plx.metric.mse, ssim_distance, "min", "auto")
    noise = jax.random.uniform(jax.random.key(5), photograph.shape)
    ratio = plx.metric.mse(photograph, noise) / ssim_distance(photograph, noise)
    exponent = np.log10(float(problem.metric_tradeoff_lambda))
    np.testing.assert_allclose(exponent, np.round(exponent), atol=1e-6)
    assert abs(exponent - np.log10(ratio)) < 1


def test_penalized_competitions_default_to_amsgrad(photograph, getkey):
    key = getkey()
    result = quietly(photograph, l2, l1, "min", 1e-3, key=key, max_steps=4)
    other = quietly(
        photograph, l2, l1, "min", 1e-3, key=key, max_steps=4, optimizer=plx.amsgrad(0.01)
    )
    np.testing.assert_allclose(result.trace.losses, other.trace.losses, rtol=1e-5)


def test_agrees_with_plenoptic(x64):
    # As far as plenoptic's window for structural similarity, rounded to float32, lets it.
    saved = np.load(REFERENCE)
    image, start, other = (jnp.asarray(saved[name]) for name in ("image", "start", "other"))
    for minmax in ("min", "max"):
        problem = plx.MADCompetition(
            image,
            ssim_distance,
            plx.metric.mse,
            minmax,
            float(saved["weight"]),
            reference_value=plx.metric.mse(image, start),
        )
        value, gradient = jax.value_and_grad(problem.objective_function)(other)
        np.testing.assert_allclose(value, saved[f"{minmax}_objective"], rtol=1e-6)
        np.testing.assert_allclose(gradient, saved[f"{minmax}_gradient"], atol=1e-7)
        solver = plx.Solver(optax.adam(0.01), stop=plx.stop.Never())
        state = plx.init(problem, solver, initial_image=start)
        state, trace = plx.run(problem, solver, state, 20, progress=False)
        result = plx.Result(problem, state, trace)
        np.testing.assert_allclose(trace.losses, saved[f"{minmax}_losses"], rtol=1e-5)
        np.testing.assert_allclose(result.image, saved[f"{minmax}_image"], atol=1e-6)
        for name in ("optimized", "reference"):
            np.testing.assert_allclose(
                trace.terms[f"{name}_metric"], saved[f"{minmax}_{name}"], rtol=1e-5
            )


@pytest.mark.parity
def test_automatic_weight_is_that_of_plenoptic(photograph):
    po = pytest.importorskip("plenoptic")
    torch = pytest.importorskip("torch")

    def distance(image, other):
        return 1 - po.metric.ssim(image, other, weighted=True, pad="reflect").mean()

    theirs = torch.as_tensor(np.array(photograph))[None]
    with pytest.warns(UserWarning, match="automatically"):
        mad = po.MADCompetition(theirs, distance, po.metric.mse, "min")
    with pytest.warns(UserWarning, match="balance"):
        problem = plx.MADCompetition(photograph, ssim_distance, plx.metric.mse, "min", "auto")
    np.testing.assert_allclose(problem.metric_tradeoff_lambda, mad.metric_tradeoff_lambda)
