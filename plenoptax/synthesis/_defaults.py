from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from .._types import Key
from ..loss import (
    mse,
    portilla_simoncelli_loss_factory,
    WeightedL2Norm,
    whitened_loss_factory,
    WhitenedLoss,
)
from ..models import PortillaSimoncelli
from ..solve import amsgrad, AnyOptimizer, lbfgs


def default_loss(model: Callable, image: Array) -> Callable:
    """The loss that metamers come about by: weighted and whitened for textures, else mse."""
    loss = default_stage_loss(model, image)
    if isinstance(loss, WeightedL2Norm):
        return whitened_loss_factory(model, image, loss, channelwise=True)
    return loss


def default_stage_loss(model: Callable, image: Array) -> Callable:
    """The loss for metamers from coarse to fine, which see parts of a representation."""
    if isinstance(model, PortillaSimoncelli):
        return portilla_simoncelli_loss_factory(model, image)
    return mse


def default_optimizer(model: Callable, loss: Callable | None = None) -> AnyOptimizer:
    """L-BFGS for Portilla-Simoncelli; else Adam with amsgrad and a rate of 0.01, as plenoptic."""
    if isinstance(loss, WhitenedLoss):
        # Without long valleys there is little to remember: 100 pairs save a tenth of the steps.
        return lbfgs(30)
    if isinstance(model, PortillaSimoncelli):
        return lbfgs()
    return default_amsgrad(0.01)


def default_amsgrad(learning_rate: float) -> optax.GradientTransformation:
    """Adam with amsgrad, whose rate is part of the state, where stages and schedules find it."""
    of_rate = optax.inject_hyperparams(amsgrad, static_args=("b1", "b2", "eps"))
    return of_rate(learning_rate=learning_rate)


def default_initial_image(model: Callable, image: Array, key: Key) -> Array:
    """Faint noise about the target's mean for Portilla-Simoncelli; else uniform noise in [0, 1]."""
    noise = jax.random.uniform(key, image.shape, image.dtype)
    if isinstance(model, PortillaSimoncelli):
        mean = jnp.mean(image, axis=(-2, -1), keepdims=True)
        return jnp.clip(mean + 0.1 * (noise - 0.5), 0, 1)
    return noise
