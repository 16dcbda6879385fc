import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx

from .placed import METHODS
from .processes import make_images, model


IMAGES = jnp.asarray(make_images())


def start(*command, devices):
    """Start a module of the tests in a process with its own number of devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_X64": str(int(devices == 8))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_batches_stay_on_their_devices():
    output, errors = start("tests.synthesis.placed", devices=8).communicate(timeout=300)
    assert output.split() == [*METHODS, "eigendistortions"], errors


def run_processes(folder, num_steps):
    """Let two processes share a batch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = (address, str(folder), str(num_steps))
    parts = [start("tests.synthesis.processes", i, *arguments, devices=1) for i in "01"]
    errors = [part.communicate(timeout=300)[1] for part in parts]
    assert [part.returncode for part in parts] == [0, 0], errors
    # The first of them draws the bars.
    for unit in ["step"] + ["product"] * (num_steps == 3):
        assert [f"{unit}/s" in error for error in errors] == [True, False]


def test_processes_give_the_result_of_one(tmp_path):
    for num_steps in (3, 5):
        run_processes(tmp_path, num_steps)
    names = ["run.0of2.npz", "run.1of2.npz", "seeds.0of2.npz", "seeds.1of2.npz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    named = {"key": jax.random.key(1), "max_steps": 5, "progress": False}
    batch = plx.metamer(IMAGES, model, batch=True, **named)
    seeds = plx.metamer(IMAGES[0], model, num_seeds=4, **named)
    for alone, file in ((batch, "run.npz"), (seeds, "seeds.npz")):
        joined = plx.io.load_result(tmp_path / file, alone.problem, alone.solver)
        np.testing.assert_allclose(joined.image, alone.image, atol=4e-7)
        np.testing.assert_array_equal(plx.io.load_result(tmp_path / file).image, joined.image)
        for one, other in zip(joined.trace.elements, alone.trace.elements, strict=True):
            np.testing.assert_allclose(one.losses, other.losses, rtol=1e-5)
        more, _ = plx.run(joined.problem, joined.solver, joined.state, 2)
        direct, _ = plx.run(alone.problem, alone.solver, alone.state, 2)
        np.testing.assert_allclose(more.z, direct.z, atol=4e-7)
    with pytest.raises(ValueError, match=r"as many processes .* 2 in all, got 1"):
        plx.metamer(IMAGES, model, batch=True, checkpoint=tmp_path / "run.npz", **named)
    (tmp_path / "run.0of2.npz").unlink()
    with pytest.raises(ValueError, match=r"got no part \[0\]"):
        plx.io.load_result(tmp_path / "run.npz")


class TestSlices:
    named = {"key": jax.random.key(1), "progress": False, "batch": True}
    images = IMAGES

    def test_slices_give_the_result_of_the_whole(self, tmp_path):
        images = jnp.concatenate([self.images, self.images[::-1], self.images[:1]])[:7]
        whole = plx.metamer(images, model, max_steps=6, **self.named)
        path = tmp_path / "run.npz"
        for max_steps in (2, 6):
            sliced = plx.metamer(
                images, model, max_steps=max_steps, batch_size=3, checkpoint=path, **self.named
            )
        names = sorted(file.name for file in tmp_path.iterdir())
        assert names == ["run.0of3.npz", "run.1of3.npz", "run.2of3.npz"]
        np.testing.assert_array_equal(sliced.image, whole.image)
        np.testing.assert_array_equal(plx.io.load_result(path).image, whole.image)
        assert isinstance(sliced.state.z, np.ndarray)
        assert "success: 7 unknown" in str(sliced.report())
        more, _ = plx.run(sliced.problem, sliced.solver, sliced.state, 3)
        direct, _ = plx.run(whole.problem, whole.solver, whole.state, 3)
        np.testing.assert_array_equal(more.z, direct.z)
        with pytest.raises(ValueError, match="3 in all, got 4"):
            plx.metamer(images, model, batch_size=2, checkpoint=path, **self.named)
        (tmp_path / "run.0of3.npz").write_bytes((tmp_path / "run.1of3.npz").read_bytes())
        with pytest.raises(ValueError, match=r"all elements of one batch, got \[3, 4, 5, 6\] of 7"):
            plx.io.load_result(path)

    def test_slices_compile_once(self):
        def count_traces(size):
            traces = []

            def traced(image):
                traces.append(image.shape)
                return jnp.tanh(image)

            images = jnp.concatenate([self.images, self.images])[:size]
            plx.metamer(images, traced, max_steps=3, batch_size=2, **self.named)
            return len(traces)

        assert count_traces(4) == count_traces(8)

    def test_an_image_alone_has_no_slices(self):
        with pytest.raises(ValueError, match="batch_size must be None for a single image, .* 3"):
            plx.metamer(self.images[0], model, key=jax.random.key(0), batch_size=3)

    def test_slices_that_fail_keep_the_others(self):
        def fails(image):
            return jnp.where(jnp.mean(image) < 10, image, jnp.nan)

        starts = self.images.at[0].set(100.0)
        named = {"batch": True, "initial_image": starts, "batch_size": 1, "max_steps": 3}
        result = plx.metamer(self.images, fails, progress=False, **named)
        failed = np.asarray(result.status == plx.Status.nonfinite)
        np.testing.assert_array_equal(failed, [True, False, False, False])
        with pytest.raises(plx.NonfiniteError) as error:
            plx.metamer(self.images, fails, progress=False, **named | {"initial_image": starts[0]})
        assert len(error.value.result) == 4
