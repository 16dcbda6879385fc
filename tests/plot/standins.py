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


class Competition:
    """Looks like the problem of a MAD competition."""

    def __init__(self, image, optimized_metric):
        self.image = image
        self.optimized_metric = optimized_metric


def make_competition(optimized, image=None):
    image = jnp.linspace(0, 1, 12 * 10).reshape(1, 12, 10) if image is None else image
    result = make_result(problem=Competition(image, optimized), image=image / 2)
    steps = np.arange(21.0)
    result.trace.terms = {"reference_metric": 0.3 + 0 * steps, "optimized_metric": 0.5 + steps}
    return result


class Path:
    """Looks like the problem of a geodesic; the model is the mean of the rows."""

    model = None
    target = None

    def __init__(self, image):
        self.pixelfade = image

    def deviation_from_line(self, path):
        along = jnp.linspace(0, 1, path.shape[0], dtype=path.dtype)
        return jnp.stack([along, path.mean((1, 2, 3))], -1)


def make_geodesic(frames=5):
    image = jnp.linspace(0, 1, frames * 6 * 8).reshape(frames, 1, 6, 8)
    return make_result(problem=Path(image), image=image)


def make_eigendistortions(channels=1):
    image = jnp.full((channels, 6, 8), 0.5)
    distortions = jnp.stack([image * 0.02 * (index + 1) for index in range(3)])
    return SimpleNamespace(
        image=image,
        eigendistortions=distortions,
        eigenvalues=np.array([3.0, 2.0, 1e-6]),
        eigenindex=np.array([0, 1, 47]),
    )
