import functools
from collections.abc import Callable

import equinox as eqx
import jax
import optax
from jaxtyping import Array

from .._answers import answer
from .._types import Key, PyTree
from ..loss import mse
from ..solve import amsgrad, AnyOptimizer, lbfgs


def default_loss(model: Callable, image: Array, target: PyTree, *, in_stages: bool) -> Callable:
    """The model's own loss for an image, else the mean squared error.

    Args:
        model: The model.
        image: The target image.
        target: Its representation.
        in_stages: Whether the loss is given parts of a representation, from coarse to fine.
    """
    make = answer(model, "default_stage_loss" if in_stages else "default_loss")
    loss = mse if make is None else make(image)
    # What a partial model selects by its arguments, the loss of the whole model may not fit.
    is_part = isinstance(model, functools.partial | eqx.Partial) and (model.args or model.keywords)
    return mse if is_part and not _takes(loss, target) else loss


def _takes(loss: Callable, representation: PyTree) -> bool:
    try:
        eqx.filter_eval_shape(loss, representation, representation)
    except (TypeError, ValueError):
        return False
    return True


def default_optimizer(model: Callable, loss: Callable | None = None) -> AnyOptimizer:
    """L-BFGS where the loss or the model asks for it; else plenoptic's Adam, at a rate of 0.01."""
    memory_size = answer(loss, "lbfgs_memory", answer(model, "lbfgs_memory"))
    return default_amsgrad(0.01) if memory_size is None else lbfgs(memory_size)


def default_amsgrad(learning_rate: float) -> optax.GradientTransformation:
    """Adam with amsgrad, whose rate is part of the state, where stages and schedules find it."""
    of_rate = optax.inject_hyperparams(amsgrad, static_args=("b1", "b2", "eps"))
    return of_rate(learning_rate=learning_rate)


def default_initial_image(model: Callable, image: Array, key: Key) -> Array:
    """The model's own start, else uniform noise in [0, 1]."""
    draw = answer(model, "initial_image")
    if draw is None:
        return jax.random.uniform(key, image.shape, image.dtype)
    return draw(image, key=key)
