import subprocess
import sys

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx


IMAGE = plx.data.brick()[:, :16, :16]
WEIGHTS = jax.random.normal(jax.random.key(3), (64, 256)) / 16


def noisy(image, *, key):
    """Linear responses with additive noise."""
    return WEIGHTS @ image.ravel() + 0.5 * jax.random.normal(key, (64,))


def gated(image, *, key):
    """Responses of which half are dropped, and rescaled: the expected response is the image."""
    kept = jax.random.bernoulli(key, 0.5, image.shape)
    return {"kept": jnp.where(kept, 2 * image, 0)}


def keys_of(number, seed=0):
    return jax.random.split(jax.random.key(seed), number)


def test_error_falls_with_the_root_of_the_number_of_keys():
    errors = {}
    for number in (4, 64, 1024):
        draws = [
            plx.models.MeanResponse(gated, keys_of(number, seed))(IMAGE)["kept"] - IMAGE
            for seed in range(16)
        ]
        errors[number] = float(np.sqrt(np.mean(np.square(draws))))
    # The standard deviation of one response is the image itself.
    deviation = float(np.sqrt(np.mean(np.square(IMAGE))))
    for number, error in errors.items():
        assert error == pytest.approx(deviation / np.sqrt(number), rel=0.05)


def test_mean_response_is_a_model_whose_keys_are_leaves():
    model = plx.models.MeanResponse(noisy, keys_of(3))
    singles = jnp.stack([noisy(IMAGE, key=key) for key in model.keys])
    np.testing.assert_allclose(model(IMAGE), singles.mean(0), rtol=1e-5, atol=1e-5)
    plx.validate.validate_model(model, (1, 16, 16))
    assert any(leaf is model.keys for leaf in jax.tree.leaves(model))
    fresh, other = model.with_fresh_keys(0), model.with_fresh_keys(1)
    data = [jax.random.key_data(m.keys).tolist() for m in (model, fresh, other)]
    assert data[0] != data[1] != data[2] != data[0]
    assert data[1] == jax.random.key_data(model.with_fresh_keys(0).keys).tolist()


def test_reports_judge_with_fresh_keys():
    model = plx.models.MeanResponse(noisy, keys_of(16))

    def reports(max_steps):
        result = plx.metamer(
            IMAGE,
            model,
            key=jax.random.key(1),
            optimizer=plx.lbfgs(),
            max_steps=max_steps,
            progress=False,
        )
        null = jnp.stack([jnp.roll(1 - IMAGE, i, -1) for i in range(8)])
        return result.report(), result.report(null=null)

    early, _ = reports(0)
    assert early.success is False
    assert early.criterion == "with fresh keys the error is above the noise floor"
    assert early.noise.error > early.noise.floor[1]
    late, judged = reports(200)
    # With its own keys, the error is rounding; with fresh keys it is noise.
    assert late.losses[1] < 1e-10
    low, high = late.noise.floor
    expected = 0.5 * np.sqrt(2 / 16) * 8 / np.linalg.norm(WEIGHTS @ IMAGE.ravel())
    assert low < expected < high
    assert late.noise.error == pytest.approx(expected, rel=0.25)
    assert late.groups["representation"].relative_error == pytest.approx(late.noise.error, rel=1e-5)
    # The noise floor is needed for success, but a null decides.
    assert late.success is None
    assert judged.groups["representation"].passes is not None
    assert "noise floor" in str(late)


def test_images_with_more_noise_than_the_target_do_not_succeed():
    def multiplied(image, *, key):
        return (jax.random.normal(key, (64, 256)) / 16 + WEIGHTS) @ image.ravel()

    # The noise grows with the image, and the other images with this response are not as dark.
    model = plx.models.MeanResponse(multiplied, keys_of(4))
    result = plx.metamer(
        IMAGE / 10,
        model,
        key=jax.random.key(1),
        optimizer=plx.lbfgs(),
        max_steps=300,
        progress=False,
    )
    report = result.report()
    assert report.losses[1] < 1e-10
    assert report.success is False
    assert report.noise.error > report.noise.floor[1]


def test_reports_of_a_batch_have_the_noise_of_each_element():
    model = plx.models.MeanResponse(noisy, keys_of(8))
    images = jnp.stack([IMAGE, 1 - IMAGE])
    options = {"key": jax.random.key(1), "batch": True, "max_steps": 2, "progress": False}
    report = plx.metamer(images, model, **options).report()
    assert len(report.reports) == 2
    assert all(one.noise.error > one.noise.floor[1] for one in report.reports)
    assert report.success is False


FRESH = """
import sys
import cloudpickle, numpy as np
import plenoptax as plx

with open(sys.argv[1], "rb") as file:
    problem, solver, wanted, error = cloudpickle.load(file)
result = plx.io.load_result(sys.argv[2], problem, solver)
state, trace = plx.run(problem, solver, result.state, 2, progress=False)
print(np.array_equal(np.asarray(state.accepted_z), wanted), result.report().noise.error == error)
"""


def test_results_are_loaded_and_continued_in_a_fresh_process(tmp_path):
    model = plx.models.MeanResponse(noisy, keys_of(4))
    options = {"key": jax.random.key(1), "optimizer": optax.sgd(0.1), "progress": False}
    result, longer = (plx.metamer(IMAGE, model, max_steps=n, **options) for n in (2, 4))
    plx.io.save(tmp_path / "run.npz", result)
    wanted = np.asarray(longer.state.accepted_z), result.report().noise.error
    things = cloudpickle.dumps((result.problem, result.solver, *wanted))
    (tmp_path / "things").write_bytes(things)
    done = subprocess.run(
        [sys.executable, "-c", FRESH, tmp_path / "things", tmp_path / "run.npz"],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True True\n", done.stderr


@pytest.mark.parametrize(
    ("model", "keys", "message"),
    [
        (3, keys_of(2), "model must be callable, got int"),
        (noisy, jax.random.key(0), "keys must be an array of keys"),
        (noisy, 5, "keys must be an array of keys.* got 5"),
    ],
)
def test_bad_input_is_named(model, keys, message, unchecked):
    with pytest.raises(TypeError, match=message):
        plx.models.MeanResponse(model, keys)
