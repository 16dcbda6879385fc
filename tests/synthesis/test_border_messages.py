"""What the entry functions say of arguments that cannot be meant."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx
from plenoptax._function import AbstractFunction


IMAGE = plx.data.brick()[:, :12, :12]
MODEL = plx.models.Gaussian(3)
KEY = jax.random.key(0)
FILTER_JIT = r"must have a hash, got a {}, .*equinox\.filter_jit\(function\), or .*lambda image"
SHORT = {"max_steps": 2, "progress": False}


def metamer(image=IMAGE, model=MODEL, **named):
    named = SHORT | ({} if "initial_image" in named else {"key": KEY}) | named
    return plx.metamer(image, model, **named)


class Dropout(eqx.Module):
    dropout: eqx.nn.Dropout = eqx.nn.Dropout(0.5)

    def __call__(self, image):
        return self.dropout(image)


CASES = {
    "jit": (
        lambda: jax.jit(lambda x: metamer(x).image)(IMAGE),
        TypeError,
        r"batch=True or num_seeds= .*plenoptax\.advance",
    ),
    "vmap": (lambda: jax.vmap(lambda x: metamer(x).image)(IMAGE[None]), TypeError, "num_seeds="),
    "vmap of keys": (
        lambda: jax.vmap(lambda key: metamer(key=key).image)(jax.random.split(KEY, 2)),
        TypeError,
        "num_seeds=",
    ),
    "grad of eigendistortions": (
        lambda: jax.grad(
            lambda x: plx.eigendistortions(x, MODEL, progress=False).eigendistortions.sum()
        )(IMAGE),
        TypeError,
        "batch=True",
    ),
    "jit of a competition": (
        lambda: jax.jit(
            lambda x: plx.mad_competition(x, plx.metric.mse, plx.metric.mse, "min", key=KEY).image
        )(IMAGE),
        TypeError,
        "batch=True",
    ),
    "jit of a model": (lambda: jax.jit(MODEL)(IMAGE), TypeError, FILTER_JIT.format("Gaussian")),
    "jit of a metric": (
        lambda: jax.grad(jax.jit(plx.metric.model_metric_factory(MODEL)))(IMAGE, 1 - IMAGE),
        TypeError,
        FILTER_JIT.format("ModelMetric"),
    ),
    "jit of a method of a problem": (
        lambda: jax.jit(plx.Metamer(IMAGE, MODEL).encode)(IMAGE),
        TypeError,
        FILTER_JIT.format("Metamer"),
    ),
    "dropout": (lambda: metamer(model=Dropout()), ValueError, "must not be stochastic.*inference"),
    "keys": (
        lambda: metamer(key=jax.random.split(KEY)),
        ValueError,
        r"one key, got an array of keys of shape \(2,\).*num_seeds=",
    ),
    "raw keys": (
        lambda: metamer(key=jax.random.split(jax.random.PRNGKey(0))),
        ValueError,
        r"one key, got an array of keys of shape \(2, 2\)",
    ),
    "no pixels": (lambda: metamer(IMAGE[:, :0]), ValueError, r"one pixel, got the shape \(1, 0,"),
    "a weight in an array": (
        lambda: metamer(penalty_lambda=np.array([0.1])),
        ValueError,
        r"penalty_lambda must be one number, got an array of shape \(1,\)",
    ),
    "noise of integers": (
        lambda: plx.process.add_noise(jnp.arange(16).reshape(1, 4, 4), 1, key=KEY),
        TypeError,
        "got int32",
    ),
    "half a scale": (
        lambda: plx.models.PortillaSimoncelli((64, 64), n_scales=2.5),
        ValueError,
        r"n_scales must be a whole number, at least 1, got 2\.5",
    ),
    "no steps": (
        lambda: plx.geodesic(IMAGE, 1 - IMAGE, MODEL, n_steps=0, key=KEY, progress=False),
        ValueError,
        "n_steps must be a whole number, at least 2, got 0",
    ),
    "a sequence": (
        lambda: plx.geodesic(
            IMAGE, 1 - IMAGE, MODEL, n_steps=3, initial_sequence="curve", key=KEY, progress=False
        ),
        ValueError,
        "initial_sequence must be 'straight' or 'bridge', got 'curve'",
    ),
}


@pytest.mark.filterwarnings("ignore:The model is in training mode")
@pytest.mark.parametrize("name", CASES)
def test_a_wrong_argument_is_named_with_the_way_out(name, unchecked):
    call, error, match = CASES[name]
    with pytest.raises(error, match=match):
        call()


def test_every_public_function_with_fields_says_how_to_compile_it():
    parts = (plx.linalg, plx.loss, plx.metric, plx.models, plx.parametrize, plx.process)
    found = {
        cls
        for part in (*parts, plx.regularize)
        for cls in vars(part).values()
        if isinstance(cls, type) and issubclass(cls, eqx.Module) and "__call__" in dir(cls)
    }
    assert {plx.models.OnOff, plx.process.SteerablePyramidFreq, plx.metric.NLP} < found
    assert all(issubclass(cls, AbstractFunction) for cls in found), found
    assert issubclass(plx.AbstractProblem, AbstractFunction)
    # Without arrays, jax.jit takes it.
    assert isinstance(hash(plx.models.Identity()), int)


def test_a_batch_names_its_elements(tmp_path):
    batch = metamer(num_seeds=2)
    with pytest.raises(TypeError, match=r"result\[i\]\.save_image"):
        batch.save_image(tmp_path / "a.png")
    assert repr(batch).startswith("Result(Metamer, batch of 2, 2 steps, loss 0.")
    assert repr(batch).endswith("image float32[2, 1, 12, 12])")
    assert repr(batch[0]).startswith("Result(Metamer, 2 steps, loss 0.")


def test_another_solver_is_named_and_not_a_leaf_alone(tmp_path):
    path = tmp_path / "run.npz"
    result = metamer(optimizer=optax.sgd(0.1), checkpoint=path)
    other = plx.init(result.problem, plx.lbfgs(2), key=KEY)
    with pytest.raises(ValueError, match=r"saved with the optimizer chain\(.*and the stop"):
        plx.io.load(path, like=other)
    with pytest.raises(ValueError, match=r"saved with the optimizer chain\("):
        plx.io.load_result(path, result.problem, plx.lbfgs(2))


def test_another_goal_of_a_competition_is_named_by_its_argument(tmp_path):
    named = {"key": KEY, "checkpoint": tmp_path / "run.npz", **SHORT}
    metrics = plx.metric.mse, plx.metric.ssim_distance
    image = plx.data.brick()[:, :16, :16]
    plx.mad_competition(image, *metrics, "min", **named)
    with pytest.raises(ValueError, match="minmax, as a sign, was 1.0 and is -1.0"):
        plx.mad_competition(image, *metrics, "max", **named)


def test_a_set_of_competitions_fits_a_screen():
    image = plx.data.brick()[:, :16, :16]
    found = plx.mad_competition_set(
        image, plx.metric.mse, plx.metric.ssim_distance, key=KEY, **SHORT
    )
    lines = str(found).splitlines()
    assert len(lines) == 6
    assert max(map(len, lines)) < 120
    assert lines[1].startswith("  metric1_min=Result(MADCompetition, 2 steps, loss ")
