"""Metamers of 22 kinds of models, begun in one process and continued in another.

    python resumed.py FOLDER begin
    python resumed.py FOLDER continue

Each call prints the optimizers and models of the module in words, as JSON.
"""

import dataclasses
import functools
import json
import pathlib
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import plenoptax as plx
from plenoptax._words import in_words


SIZE = 16


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A model that is a dataclass."""

    gain: float

    def __call__(self, image):
        return self.gain * image**2


class Weighting:
    """A model that is a plain object."""

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, image):
        return image @ self.weights

    def squared(self, image):
        return (image @ self.weights) ** 2


class Module(eqx.Module):
    weights: jax.Array

    def __call__(self, image):
        return jnp.tanh(image @ self.weights)


def square(image):
    return image**2


def power(exponent, image):
    return image**exponent


def closure(weights):
    def model(image):
        return image @ weights

    return model


def weights():
    return jnp.eye(SIZE)[:, :5] + 0.1


def front_end(kind):
    return kind(kernel_size=31, pretrained=True)


def network():
    return eqx.nn.MLP(SIZE, 3, 4, 1, key=jax.random.key(7))


# From names to functions that build the models: nothing is computed when tests are collected.
MODELS = {
    "function": lambda: square,
    "lambda": lambda: lambda image: image[:, ::2],
    "closure over an array": lambda: closure(weights()),
    "functools.partial": lambda: functools.partial(power, 3),
    "jax.tree_util.Partial": lambda: jax.tree_util.Partial(jnp.matmul, weights().T),
    "jax.jit": lambda: jax.jit(square),
    "eqx.filter_jit": lambda: eqx.filter_jit(square),
    "jax.checkpoint": lambda: jax.checkpoint(square),
    "bound method": lambda: Weighting(weights()).squared,
    "callable object": lambda: Weighting(weights()),
    "dataclass": lambda: Scaling(2.0),
    "module": lambda: Module(weights()),
    "eqx.nn.Sequential": lambda: eqx.nn.Sequential(
        [eqx.nn.Conv2d(1, 2, 3, key=jax.random.key(7)), eqx.nn.Lambda(jax.nn.relu)]
    ),
    "eqx.nn.MLP": lambda: eqx.filter_vmap(eqx.filter_vmap(network())),
    "Linear": lambda: plx.models.Linear((3, 3)),
    "Gaussian": lambda: plx.models.Gaussian(3),
    "CenterSurround": lambda: plx.models.CenterSurround(3),
    "LinearNonlinear": lambda: front_end(plx.models.LinearNonlinear),
    "LuminanceGainControl": lambda: front_end(plx.models.LuminanceGainControl),
    "LuminanceContrastGainControl": lambda: front_end(plx.models.LuminanceContrastGainControl),
    "OnOff": lambda: front_end(plx.models.OnOff),
    "PortillaSimoncelli": lambda: plx.models.PortillaSimoncelli(
        (SIZE, SIZE), n_scales=1, n_orientations=2, spatial_corr_width=3
    ),
}

OPTIMIZERS = {
    "plx.amsgrad": lambda: plx.amsgrad(0.01),
    "plx.lbfgs": lambda: plx.lbfgs(),
    "adam": lambda: optax.adam(0.01),
    "adamw": lambda: optax.adamw(0.01),
    "sgd": lambda: optax.sgd(0.1, momentum=0.9),
    "rmsprop": lambda: optax.rmsprop(1e-3),
    "nadam": lambda: optax.nadam(1e-3),
    "lion": lambda: optax.lion(1e-3),
    "optax.lbfgs": lambda: optax.lbfgs(),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(0.01),
    "schedule": lambda: optax.adam(optax.cosine_decay_schedule(0.01, 100)),
    "chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01)),
}


def synthesize(model, max_steps, checkpoint=None):
    """A metamer of a texture, from noise."""
    return plx.metamer(
        plx.data.brick()[:, :SIZE, :SIZE],
        model,
        plx.loss.mse,
        key=jax.random.key(3),
        optimizer=optax.sgd(0.1, momentum=0.9),
        max_steps=max_steps,
        progress=False,
        checkpoint=checkpoint,
    )


def main(folder, command):
    written = {name: in_words(plx.Solver(build()).optimizer) for name, build in OPTIMIZERS.items()}
    for name, build in MODELS.items():
        model, path = build(), folder / f"{name}.npz"
        written[name] = in_words(model)
        if command == "begin":
            whole = synthesize(model, 4)
            np.savez(folder / f"{name} whole.npz", image=whole.image, losses=whole.trace.losses)
            synthesize(model, 2, path)
        else:
            resumed = synthesize(model, 4, path)
            losses = resumed.trace.losses
            np.savez(folder / f"{name} resumed.npz", image=resumed.image, losses=losses)
    print(json.dumps(written))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
