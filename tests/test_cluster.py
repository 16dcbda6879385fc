import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import plenoptax as plx


PAGE = pathlib.Path(__file__).parents[1] / "docs" / "devices.md"


def recipe(beginning, **changes):
    """Return the code block of the page that begins so, smaller and faster."""
    blocks = re.findall(r"```(?:python|bash)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (found,) = (block for block in blocks if block.startswith(beginning))
    for old, new in changes.items():
        assert old in found
        found = found.replace(old, new)
    return found


def run(folder, *command, **variables):
    root = str(pathlib.Path(plx.__file__).parents[1])
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PYTHONPATH": root, "PATH": path, **variables}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not PAGE.exists(), reason="The documentation is not part of the distribution.")
def test_the_recipes_for_a_cluster_run(tmp_path):
    pytest.importorskip("submitit")
    for name in ("images", "runs", "metamers"):
        (tmp_path / name).mkdir()
    images = [plx.data.brick()[:, :16, i : i + 16] for i in (0, 16)]
    for index, image in enumerate(images):
        plx.data.save_image(tmp_path / f"images/{index}.png", image)
    model = {"PortillaSimoncelli(image.shape[-2:])": "Gaussian(3)"}
    (tmp_path / "synthesize.py").write_text(recipe("import sys", **model))
    # The executor of this machine starts each job in a process of its own.
    smaller = {'AutoExecutor("logs"': 'AutoExecutor("logs", cluster="local"', "range(100)": "[0]"}
    submit = recipe("import submitit", **smaller) + "for job in jobs:\n    job.result()\n"
    (tmp_path / "submit.py").write_text(submit)
    run(tmp_path, sys.executable, "submit.py")
    (tmp_path / "array.sh").write_text(recipe("#!/bin/bash"))
    run(tmp_path, shutil.which("bash"), "array.sh", SLURM_ARRAY_TASK_ID="1")
    for index in range(2):
        result = plx.io.load_result(tmp_path / f"runs/{index}.npz")
        assert result.trace.losses[-1] < 0.1 * result.trace.losses[0]
        written = plx.load_images(tmp_path / f"metamers/{index}.png")
        np.testing.assert_allclose(written, np.clip(result.image, 0, 1), atol=0.51 / 255)
