"""Small objects with the attributes of the results of synthesis that figures rely on."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from plenoptax.solve import Status


class Metamer:
    def __init__(self, model, image):
        self.model = model
        self.target = model(image)


class MAD:
    pass


def make_result(model=None, image=None, steps=20, recorded=(0, 5, 10, 15), problem=None):
    """A synthesis of which the image at step i is i / (steps + 1) of the final one."""
    image = jnp.linspace(0, 1, 12 * 10).reshape(1, 12, 10) if image is None else image
    losses = 0.5 ** np.arange(steps + 1.0)
    trace = SimpleNamespace(
        losses=losses,
        penalties=losses / 8,
        gradient_norm=losses[1:],
        pixel_change_norm=losses[1:],
        images=np.stack([np.asarray(image) * step / (steps + 1) for step in recorded])
        if recorded
        else None,
        image_steps=np.array(recorded) if recorded else None,
    )
    return SimpleNamespace(
        problem=Metamer(model or mean_and_map, 0.5 * image) if problem is None else problem,
        image=image,
        trace=trace,
        status=Status.plateau,
        success=None,
    )


def mean_and_map(image):
    return {"mean": image.mean((1, 2)), "map": image[:, ::2, ::2]}


def vector(image):
    return image.reshape(1, -1)[:, :50]
