"""Write old_checkpoint.npz, a run of 5 steps with the oldest Equinox that plenoptax takes.

    pip install --target OLD --no-deps equinox==0.13.1
    JAX_ENABLE_X64=1 PYTHONPATH=OLD python tests/reference/make_old_checkpoint.py

OLD is a folder of its own: Equinox 0.13.0 does not import with JAX 0.10.
"""

import pathlib

import equinox as eqx
import jax

import plenoptax as plx


FILE = pathlib.Path(__file__).with_name("old_checkpoint.npz")


def main():
    assert eqx.__version__ == "0.13.1", eqx.__version__
    FILE.unlink(missing_ok=True)
    plx.metamer(
        plx.data.brick()[:, :16, :16].astype("float64"),
        plx.models.Gaussian(3),
        key=jax.random.key(0),
        optimizer=plx.lbfgs(3),
        max_steps=5,
        progress=False,
        checkpoint=FILE,
    )


if __name__ == "__main__":
    main()
