import os
import pathlib
import signal
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax._progress import ProgressBar
from plenoptax.synthesis import _principal_distortions

from .eigen import crop, is_status


ROOT = pathlib.Path(__file__).parents[2]
KEY = jax.random.key(0)


def gains(*numbers):
    """A model that sees each pixel of 1 x 2 x 3 with a gain of its own."""

    def model(image):
        return jnp.asarray(numbers, image.dtype).reshape(image.shape) * image

    return model


MODELS = [gains(1, 2, 3, 1, 1, 1), gains(1, 1, 1, 1, 1, 2), gains(3, 1, 1, 2, 1, 1)]
IMAGE = np.full((1, 2, 3), 0.5, np.float32)


def compare(models=MODELS, image=IMAGE, **options):
    options = {"key": KEY, "max_steps": 20, "progress": False} | options
    return plx.principal_distortions(jnp.asarray(image), models, **options)


def compare_two(**options):
    options = {"progress": False} | options
    return plx.generalized_eigendistortions(jnp.asarray(IMAGE), *MODELS[:2], **options)


COMPARISONS = {"principal": compare, "generalized": compare_two}


@pytest.mark.parametrize("noise", [None, plx.linalg.GaussianNoise(4.0)])
def test_variances_are_those_of_the_log_ratios(noise, x64):
    image = crop(8, jnp.float64)
    models = [plx.models.Gaussian(3, std=std) for std in (0.5, 1.0)] + [lambda x: x**2]
    ridge = np.asarray([1e-3, 1e-2, 0.1])
    found = compare(models, image, ridge=ridge, noise=noise)
    pair = np.asarray(found.distortions).reshape(2, -1)
    informations = [np.asarray(plx.linalg.fisher_matrix(m, image, noise=noise)) for m in models]
    # The mean eigenvalues are estimated with 16 random vectors.
    probes = np.asarray(jax.random.rademacher(jax.random.split(KEY)[0], (16, 64), jnp.float64))
    scales = [np.einsum("ki,ij,kj->", probes, f, probes) / 16 / 64 for f in informations]
    seen = [np.einsum("ki,ij,kj->k", pair, f, pair) for f in informations]
    logs = np.log(np.stack(seen) + (ridge * scales)[:, None])
    np.testing.assert_allclose(found.log_ratios, logs[:, 0] - logs[:, 1], rtol=1e-9)
    assert found.variances.shape == (21,)
    assert found.variances[-1] == pytest.approx(np.var(found.log_ratios), rel=1e-12)
    assert found.variances[-1] == max(found.variances)
    np.testing.assert_array_equal(found.ridge, ridge)
    assert found.status == plx.Status.step_limit


def test_the_first_step_does_not_depend_on_the_limit():
    first, second = (compare(max_steps=steps).variances for steps in (1, 2))
    assert (first.shape, second.shape) == ((2,), (3,))
    np.testing.assert_array_equal(first, second[:2])


def press_ctrl_c_at(monkeypatch, count):
    """Let the bar press Ctrl-C when it has moved so often."""
    moved = []

    def update(self, *numbers):
        moved.append(numbers)
        if len(moved) == count:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressBar, "update", update)


def test_ctrl_c_ends_the_ascent_after_the_step_under_way(monkeypatch):
    whole, handler = compare(), signal.getsignal(signal.SIGINT)
    press_ctrl_c_at(monkeypatch, 3)
    found = compare()
    assert signal.getsignal(signal.SIGINT) is handler
    assert found.status == plx.Status.interrupted
    np.testing.assert_array_equal(found.variances, whole.variances[:4])
    np.testing.assert_allclose(np.var(found.log_ratios), found.variances[-1], rtol=1e-5)
    wanted = "Ctrl-C ended the ascent after 3 of 20 steps."
    assert found.report().status == {"ascent": wanted}
    assert wanted in str(found.report())


def test_ctrl_c_ends_the_forming_of_matrices(monkeypatch):
    press_ctrl_c_at(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        compare_two()


def test_a_blind_model_without_a_ridge_is_no_number():
    found = compare([*MODELS, lambda x: 0 * x], ridge=0.0)
    assert found.status == plx.Status.nonfinite
    assert np.isnan(found.log_ratios[-1])
    assert found.variances.shape == (1,)
    assert "after 0 of 20 steps. Give a larger ridge" in str(found)


def test_the_last_changes_of_finite_variance_are_kept(monkeypatch):
    step, taken = _principal_distortions._ascend, []

    def fail_at_the_fourth(*arguments):
        pair, state, variance = step(*arguments)
        taken.append(arguments[3])
        return pair, state, variance * (jnp.nan if len(taken) == 4 else 1)

    monkeypatch.setattr(_principal_distortions, "_ascend", fail_at_the_fourth)
    found = compare()
    assert found.status == plx.Status.nonfinite
    np.testing.assert_array_equal(found.distortions.reshape(2, -1), taken[2])
    assert found.variances.shape == (3,)
    assert "after 2 of 20 steps" in str(found)


def test_the_ascent_is_traced_once_for_all_images_models_and_limits(monkeypatch):
    measure, calls = _principal_distortions._log_sensitivities, []

    def count(*arguments):
        calls.append(isinstance(arguments[2], jax.core.Tracer))
        return measure(*arguments)

    monkeypatch.setattr(_principal_distortions, "_log_sensitivities", count)
    # A size that no other test has.
    image = crop(11, jnp.float32)
    for number, (shown, std, steps) in enumerate(((image, 1.0, 2), (image[:, ::-1], 2.0, 3))):
        calls.clear()
        compare([plx.models.Gaussian(3, s) for s in (std, std + 1, 0.5)], shown, max_steps=steps)
        # At the random changes, while the step is traced, and at the result.
        assert calls == ([False, True, False] if number == 0 else [False, False])


@pytest.mark.parametrize(
    ("name", "shown"), [("principal", ["20/20", "variance="]), ("generalized", ["6/6", "product"])]
)
def test_progress_is_shown_unless_it_is_turned_off(name, shown, capsys):
    quiet = COMPARISONS[name]()
    assert capsys.readouterr().err == ""
    found = COMPARISONS[name](progress=True)
    printed = capsys.readouterr().err
    assert all(text in printed for text in shown)
    np.testing.assert_array_equal(
        found.log_ratios if name == "principal" else found.eigendistortions,
        quiet.log_ratios if name == "principal" else quiet.eigendistortions,
    )


READ = """
import sys, plenoptax as plx
for path in sys.argv[1:]:
    found = plx.io.load_result(path)
    print(found.report())
    plx.io.save(path + ".again", found)
"""


def test_comparisons_survive_a_file_in_a_fresh_process(tmp_path):
    found = {str(tmp_path / name): make() for name, make in COMPARISONS.items()}
    for path, one in found.items():
        plx.io.save(path, one)
        assert eqx.tree_equal(type(one).load(path), one)
    done = subprocess.run(
        [sys.executable, "-c", READ, *found],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "".join(f"{one.report()}\n" for one in found.values())
    for path, one in found.items():
        again = plx.io.load_result(path + ".again")
        assert type(again) is type(one)
        assert eqx.tree_equal(again, one)
    with pytest.raises(ValueError, match="must hold PrincipalDistortions, got General"):
        plx.PrincipalDistortions.load(tmp_path / "generalized")


@pytest.mark.parametrize("status", ["plateau", "interrupted", "nonfinite"])
def test_every_status_survives_a_file(status, tmp_path):
    found = eqx.tree_at(lambda one: one.status, compare(), getattr(plx.Status, status))
    found.save(tmp_path / "found.npz")
    assert plx.PrincipalDistortions.load(tmp_path / "found.npz").status == found.status


def test_reports_say_what_was_compared_and_how():
    blurs = [plx.models.Gaussian(3, std=std) for std in (1.0, 2.0)]
    found = compare(blurs, crop(8), ridge=0.01, noise=plx.linalg.PoissonNoise())
    report = found.report()
    printed = str(report)
    assert printed.endswith(str(found))
    assert report.status == {"ascent": "All 20 steps were taken."}
    assert report.provenance is found.provenance
    assert found.names == ("Gaussian", "Gaussian")
    for text in (
        "Gaussian(std=[1.0], kernel_size=(3, 3)",
        "Gaussian(std=[2.0], kernel_size=(3, 3)",
        "PoissonNoise(",
        "ridge     0.01 times the mean eigenvalue of each model's",
        "key       [0, 0]",
        f"jax {jax.__version__}",
        f"variance: {found.variances[0]:.4g} -> {found.variances[-1]:.4g}",
    ):
        assert text in printed
    assert "feather2025discriminating" in report.bibtex
    ridges = str(compare(blurs, crop(8), ridge=np.asarray([0.01, 0.1])).report())
    assert "ridge     0.01, 0.1 times the mean" in ridges


def test_reports_of_two_models_say_their_subspace_and_cite():
    def bright(image):
        return image**2

    subspace = plx.linalg.mask(IMAGE > 0)
    found = plx.generalized_eigendistortions(
        jnp.asarray(IMAGE), bright, MODELS[0], subspace=subspace, progress=False
    )
    report = found.report()
    printed = str(report)
    assert printed.endswith(str(found))
    assert is_status(found.status["top"], "converged")
    assert set(report.status) == {"top", "bottom"}
    for text in (
        "bright",
        "noise     Gaussian, of variance 1",
        "subspace  Window(",
        "ridge     0.001 times the largest eigenvalue of the Fisher information of model",
        "device ",
        f"jax {jax.__version__}",
    ):
        assert text in printed
    assert "key" not in printed
    assert found.provenance["k"] == 1
    for entry in ("berardino2017eigen", "feather2025discriminating"):
        assert entry in report.bibtex


def test_one_model_is_not_compared():
    with pytest.raises(ValueError, match="models must be two or more models, got 1"):
        compare(MODELS[:1])
