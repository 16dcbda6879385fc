import json
import os
import pathlib
import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx
from plenoptax._words import in_words
from plenoptax.solve._optimizer import describe_optimizer
from plenoptax.solve._probe import probe

from . import killed, resumed


SCRIPT = pathlib.Path(resumed.__file__)
ROOT = SCRIPT.parents[2]


def run_script(folder, command):
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), str(folder), command],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            # The second process loads what the first compiled.
            "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


# One test of two processes: as many tests would start these in each worker.
def test_models_of_any_kind_resume_in_a_fresh_process_that_describes_them_alike(tmp_path):
    first, second = (run_script(tmp_path, command) for command in ("begin", "continue"))
    assert set(first) == {*resumed.MODELS, *resumed.OPTIMIZERS}
    for name, words in first.items():
        assert second[name] == words, name
        assert not re.search(r"0x[0-9a-f]{6}", words), name
    for name in resumed.MODELS:
        with np.load(tmp_path / f"{name} whole.npz") as whole:
            with np.load(tmp_path / f"{name} resumed.npz") as again:
                np.testing.assert_array_equal(again["losses"], whole["losses"], err_msg=name)
                np.testing.assert_array_equal(again["image"], whole["image"], err_msg=name)
            assert whole["losses"].shape == (5,), name
            assert len(np.unique(whole["losses"])) > 1, name


def test_words_name_the_parts_of_optimizers_and_models():
    built = {name: build() for name, build in resumed.OPTIMIZERS.items()}
    words = {name: describe_optimizer(plx.Solver(one).optimizer) for name, one in built.items()}
    words |= {name: in_words(build()) for name, build in resumed.MODELS.items()}
    adam = "scale_by_adam(b1=0.9, b2=0.999, eps=1e-08, eps_root=0.0, mu_dtype=None, nesterov=False)"
    rate = "scale_by_learning_rate(0.01)"
    assert words["adam"] == f"chain({adam}, {rate})"
    assert words["chain"] == f"chain(clip_by_global_norm(max_norm=1.0), chain({adam}, {rate}))"
    assert words["plx.amsgrad"] == f"chain(amsgrad(b1=0.9, b2=0.999, eps=1e-08), {rate})"
    assert words["plx.lbfgs"] == (
        "LBFGS(memory_size=100, sufficient_decrease=0.0001, curvature=0.9, max_trials=20)"
    )
    assert "cosine_decay_schedule.schedule(" in words["schedule"]
    assert "decay_steps=100" in words["schedule"]
    assert "inner_factory=adam" in words["inject_hyperparams"]
    assert "learning_rate: 0.01" in words["inject_hyperparams"]
    assert words["sgd"].startswith("chain(trace(decay=0.9")
    assert words["closure over an array"] == "closure.model(weights=float32[16, 5])"
    assert words["bound method"] == "Weighting(weights=float32[16, 5]).squared"
    assert words["functools.partial"] == "partial(power, 3)"
    assert words["jax.jit"] == "square"
    assert words["Gaussian"] == "Gaussian(std=[3.0], kernel_size=(3, 3), pad_mode='reflect')"


IMAGE = np.random.default_rng(5).uniform(0.1, 0.9, (1, 8, 8)).astype(np.float32)


def given():
    """What the entry function is given, which one test after another changes."""
    return {
        "image": jnp.asarray(IMAGE),
        "model": plx.models.Gaussian(3),
        "loss_function": plx.loss.mse,
        "penalty_function": plx.regularize.penalize_range,
        "penalty_lambda": 0.1,
        "key": jax.random.key(0),
        "optimizer": optax.adam(0.01),
        "progress": False,
    }


def outside(image):
    return plx.regularize.penalize_range(image, allowed_range=(0.0, 2.0))


# From a name to a function of no arguments, for nothing is computed when tests are collected.
CHANGES = {
    "image": (lambda: {"image": jnp.asarray(IMAGE[:, ::-1])}, "another image"),
    "model": (
        lambda: {"model": plx.models.Gaussian(3, std=1.0)},
        r"model was Gaussian.*\[3.0\].*\[1.0\]",
    ),
    "key": (
        lambda: {"key": jax.random.key(1)},
        r"another key: it was \[0, 0\] and now is \[0, 1\]",
    ),
    "loss": (
        lambda: {"loss_function": plx.loss.l2_norm},
        "loss_function was mse and is l2_norm",
    ),
    "penalty": (
        lambda: {"penalty_function": plx.regularize.penalize_total_variation},
        "its penalty .*; penalty_function was penalize_range and is penalize_total_variation",
    ),
    "weight": (lambda: {"penalty_lambda": 0.2}, r"\.penalty_lambda differs, by up to 0\.1"),
    "range": (
        lambda: {"penalty_function": outside},
        r"its penalty at two probe images was 0, .* and is 0, ",
    ),
    "parametrization": (
        lambda: {"parametrization": plx.parametrize.Sigmoid()},
        r"parametrization was Pixels\(bounds=None\) and is Sigmoid",
    ),
    "optimizer": (
        lambda: {"optimizer": optax.nadam(0.01)},
        "another optimizer: .*nesterov=False.*nesterov=True",
    ),
    "learning rate": (
        lambda: {"optimizer": optax.adam(0.02)},
        r"another optimizer: .*\(0\.01\).*\(0\.02\)",
    ),
    "initial_image": (
        lambda: {"key": None, "initial_image": jnp.asarray(IMAGE[:, ::-1])},
        "another initial_image",
    ),
    "num_seeds": (lambda: {"num_seeds": 2}, "number of elements .* it was None and now is 2"),
    "schedule of the weight": (
        lambda: {"penalty_lambda": optax.linear_schedule(0.1, 1.0, 50)},
        r"penalty_lambda was 0\.1 and is .*schedule\(.*transition_steps=50\)",
    ),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    path = tmp_path_factory.mktemp("begun") / "metamer.npz"
    plx.metamer(**given(), max_steps=2, checkpoint=path)
    return path


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_of_another_run_is_refused_by_name(name, begun):
    change, message = CHANGES[name]
    before = begun.read_bytes()
    with pytest.raises(ValueError, match=message):
        plx.metamer(**given() | change(), max_steps=4, checkpoint=begun)
    assert begun.read_bytes() == before


def test_another_start_is_refused(tmp_path):
    path = tmp_path / "metamer.npz"
    start = {"key": None, "initial_image": jnp.asarray(IMAGE[:, ::-1])}
    plx.metamer(**given() | start, max_steps=2, checkpoint=path)
    start["initial_image"] = start["initial_image"] + 0.01
    with pytest.raises(ValueError, match="another initial_image"):
        plx.metamer(**given() | start, max_steps=2, checkpoint=path)


def test_a_changed_schedule_of_the_weight_is_noticed():
    first, second = (
        plx.Metamer(
            jnp.asarray(IMAGE),
            plx.models.Gaussian(3),
            penalty_lambda=optax.linear_schedule(0.1, 1.0, transition_steps),
        )
        for transition_steps in (200, 300)
    )
    inside, outside = (probe(problem)[".probe.objective"] for problem in (first, second))
    assert inside[0] == outside[0]
    assert abs(inside[1] / outside[1] - 1) > 0.1


def test_a_default_rate_that_depends_on_max_steps_is_not_continued(tmp_path):
    options = {
        "optimized_metric": plx.metric.mse,
        "reference_metric": plx.loss.l2_norm,
        "minmax": "max",
        "key": jax.random.key(0),
        "progress": False,
        "checkpoint": tmp_path / "mad.npz",
    }
    plx.mad_competition(jnp.asarray(IMAGE), **options, max_steps=2)
    with pytest.raises(ValueError, match=r"another optimizer: .*last=2\.0.*last=3\.0"):
        plx.mad_competition(jnp.asarray(IMAGE), **options, max_steps=3)


def test_a_checkpoint_of_run_is_not_taken_for_one_of_an_entry_function(tmp_path):
    options = given()
    problem = plx.Metamer(options["image"], options["model"], plx.loss.mse)
    state = plx.init(problem, options["optimizer"], key=options["key"])
    plx.run(problem, options["optimizer"], state, 1, checkpoint=tmp_path / "run.npz")
    with pytest.raises(ValueError, match="got one of plenoptax.run"):
        plx.metamer(**options, max_steps=2, checkpoint=tmp_path / "run.npz")


def test_models_without_a_hash_are_refused():
    class Unhashable:
        __hash__ = None

        def __call__(self, image):
            return image

    with pytest.raises(TypeError, match=r"Unhashable without one.*equinox\.Module"):
        plx.Metamer(jnp.asarray(IMAGE), Unhashable())


REFERENCE = pathlib.Path(__file__).parents[1] / "reference"


@pytest.mark.parametrize(("number", "version"), [(1, "0.1.0"), (2, "0.2.0"), (3, "0.2.0")])
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("state", r"state\.z +float32\[1, 16, 16\]"),
        ("trace", r"\[0\] +loss 0\.0234109 -> 0\.\d+ in 5 steps, 5 evaluations"),
        ("checkpoint", r"key +\[0, 0\]"),
        ("batch", r"\[1\] +loss 0\.0148934"),
        ("eigendistortions", r"eigendistortions +float32\[4, 1, 16, 16\]"),
    ],
)
def test_files_of_older_formats_are_refused_by_version_and_examined(
    name, shown, number, version, capsys
):
    path = REFERENCE / f"format_{number}" / f"{name}.npz"
    problem = plx.Metamer(jnp.asarray(IMAGE), plx.models.Gaussian(3))
    state = plx.init(problem, plx.lbfgs(3), key=jax.random.key(0))
    match = rf"must have format 4, .* got format {number} of plenoptax {re.escape(version)}"
    for load in (
        plx.io.load_result,
        plx.Eigendistortions.load,
        plx.io.load_trace,
        lambda path: plx.io.load(path, like=state),
    ):
        with pytest.raises(ValueError, match=match):
            load(path)
    plx.io.examine_saved_synthesis(path)
    assert re.search(shown, capsys.readouterr().out)


def test_a_checkpoint_of_the_oldest_equinox_is_continued(tmp_path, x64):
    path = tmp_path / "old.npz"
    path.write_bytes((REFERENCE / "old_checkpoint.npz").read_bytes())
    saved = plx.io.load_trace(path)
    assert saved.provenance["versions"]["equinox"] == "0.13.1"
    named = {"key": jax.random.key(0), "optimizer": plx.lbfgs(3), "progress": False}
    image, model = plx.data.brick()[:, :16, :16].astype("float64"), plx.models.Gaussian(3)
    went_on = plx.metamer(image, model, checkpoint=path, max_steps=9, **named)
    direct = plx.metamer(image, model, max_steps=9, **named)
    assert went_on.state.num_steps == 9
    assert len(saved) == 5
    np.testing.assert_array_equal(went_on.trace.losses[:5], saved.losses[:5])
    np.testing.assert_allclose(went_on.image, direct.image, rtol=1e-8)
    np.testing.assert_allclose(went_on.trace.losses, direct.trace.losses, rtol=1e-8)


@pytest.mark.parametrize("method", killed.METHODS)
def test_a_killed_run_of_each_method_is_continued_bit_for_bit(method, tmp_path):
    path = tmp_path / "run.npz"
    command = [sys.executable, "-m", "tests.synthesis.killed", method, str(path)]
    named = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    with subprocess.Popen([*command, "begin"], **named) as process:
        deadline = time.monotonic() + 100
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    ended = subprocess.run([*command, "continue"], capture_output=True, text=True, **named)
    assert re.match(r"the same after \d+ and 3 steps", ended.stdout), ended.stderr
    # The part that was being written when the process was killed is gone.
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]
