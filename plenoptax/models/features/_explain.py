"""Errors of a network that does not take an image, in one sentence."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._marks import trace_network
from ._networks import refuse_training


# Errors of Flax in training mode: NNX cannot change a state in a compiled function, and linen has
# fixed variables and no key for dropout.
_TRAINING = ("InvalidRngError", "ModifyScopeVariableError", "TraceContextError")

_LEAVES_JAX = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.UnexpectedTracerError,
)

# Other orders of the axes of an image, and other numbers of channels.
_LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "jnp.moveaxis(image, 0, -1)": lambda image: jnp.moveaxis(image, 0, -1),
    "image[None]": lambda image: image[None],
    "jnp.moveaxis(image, 0, -1)[None]": lambda image: jnp.moveaxis(image, 0, -1)[None],
    "jnp.moveaxis(image, -1, 0)": lambda image: jnp.moveaxis(image, -1, 0),
    "jnp.repeat(image, 3, axis=0)": lambda image: jnp.repeat(image, 3, axis=0),
}

# Sides of the images of well-known networks and data sets.
_SIDES = (224, 227, 299, 28, 32, 64, 96, 128, 256)


def explain(network: Callable, image: jax.ShapeDtypeStruct, error: Exception) -> None:
    """Raise an error that says what the network takes, if this can be found out.

    Args:
        network: The network.
        image: The image that it did not take.
        error: The error that it raised.

    Raises:
        ValueError: If the network is in training mode, or takes an image of another shape.
    """
    if isinstance(error, _LEAVES_JAX):
        return
    if type(error).__name__ in _TRAINING:
        # Flax ends its messages with an address.
        sentence = str(error).partition(" (http")[0].rstrip(".")
        refuse_training(f"a {type(error).__name__}: {sentence}")
    if len(image.shape) != 3:
        return
    for code, change in _LAYOUTS.items():
        other = jax.eval_shape(change, image)
        if _takes(network, other):
            _refuse(image, other, f"Give transform=lambda image: {code}, or add this to yours")
    for side in _SIDES:
        other = jax.ShapeDtypeStruct((image.shape[0], side, side), image.dtype)
        if _takes(network, other):
            _refuse(image, other, "Crop or resize the image, with jax.image.resize for example")


def _takes(network: Callable, image: jax.ShapeDtypeStruct) -> bool:
    try:
        trace_network(network, image)
    except Exception:
        return False
    return True


def _refuse(image: jax.ShapeDtypeStruct, other: jax.ShapeDtypeStruct, advice: str) -> None:
    raise ValueError(
        f"The image must have a shape that the network takes, got {image.shape}; this network "
        f"takes {other.shape}. {advice}."
    )
