"""Write format_N/, one file of each kind that plenoptax saves, in the format of its version.

    python tests/reference/make_format.py 2

Files of older formats are refused with a sentence, and `plenoptax.io.examine_saved_synthesis` still
reads them. Only a version that writes a format makes its files again: for format 1 that of commit
d468171 (plenoptax 0.1.0), for format 2 that of commit 0f051c5 (0.2.0), for format 3 that of commit
1b687d9 (0.2.0).
"""

import pathlib
import sys

import jax
import jax.numpy as jnp

import plenoptax as plx


FOLDER = pathlib.Path(__file__).parent / f"format_{int(sys.argv[1])}"


def main():
    FOLDER.mkdir(exist_ok=True)
    image = plx.data.brick()[:, :16, :16]
    key = jax.random.key(0)
    problem = plx.Metamer(image, plx.models.Gaussian(3))
    solver = plx.Solver(plx.lbfgs(3))
    state, trace = plx.run(problem, solver, plx.init(problem, solver, key=key), 5)
    plx.io.save(FOLDER / "state.npz", state, problem=problem)
    plx.io.save(FOLDER / "trace.npz", state, trace, problem=problem)

    named = {"key": key, "optimizer": plx.lbfgs(3), "max_steps": 5, "progress": False}
    checkpoint = FOLDER / "checkpoint.npz"
    checkpoint.unlink(missing_ok=True)
    plx.metamer(image, plx.models.Gaussian(3), checkpoint=checkpoint, **named)

    images = jnp.stack([image, plx.data.grass()[:, :16, :16]])
    batch = plx.metamer(images, plx.models.Gaussian(3), batch=True, **named)
    plx.io.save(FOLDER / "batch.npz", batch.state, batch.trace, problem=batch.problem)

    found = plx.eigendistortions(image, plx.models.Gaussian(3), k=2, key=key, progress=False)
    found.save(FOLDER / "eigendistortions.npz")


if __name__ == "__main__":
    main()
