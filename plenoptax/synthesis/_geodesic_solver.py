import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from .._types import PyTree


def precondition_path(
    optimizer: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """An optimizer in coordinates in which the frames of a path do not pull at each other.

    The energy of a path is that of a chain of springs: a bend of the whole path is ``n_steps**2``
    times softer than one of a single frame, and an optimizer takes as many more steps to straighten
    it. The springs are the same for any model and any images, so their stiffness can be divided
    out: the optimizer moves the frames times the square root of the matrix of second differences
    in time. What remains is the conditioning of the model.

    Args:
        optimizer: Any optax transformation; `plenoptax.lbfgs` profits most.

    Returns:
        An optimizer for variables whose first axis numbers the frames between the two ends.

    Example:
        >>> import plenoptax as plx
        >>> solver = plx.Solver(plx.precondition_path(plx.lbfgs()))
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> PyTree:
        return optimizer.init(_multiply(params, 0.5))

    def update(
        updates: PyTree, state: PyTree, params: PyTree, **extra_args: PyTree
    ) -> tuple[PyTree, PyTree]:
        moved, state = optimizer.update(
            _multiply(updates, -0.5), state, _multiply(params, 0.5), **extra_args
        )
        return _multiply(moved, -0.5), state

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def _multiply(tree: PyTree, power: float) -> PyTree:
    """A power of the matrix of second differences times the frames."""

    def multiply(frames: Array) -> Array:
        size = len(frames)
        matrix = 2 * np.eye(size) - np.eye(size, k=1) - np.eye(size, k=-1)
        values, vectors = np.linalg.eigh(matrix)
        product = jnp.asarray((vectors * values**power) @ vectors.T, frames.dtype)
        return jnp.tensordot(product, frames, axes=1)

    return jax.tree.map(multiply, tree)
