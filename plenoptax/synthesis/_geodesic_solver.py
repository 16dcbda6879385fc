from collections.abc import Callable
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._types import PyTree, Scalar
from ..solve import AbstractOptimizer, AnyOptimizer, as_optimizer, Outcome


def precondition_path(optimizer: AnyOptimizer) -> AbstractOptimizer:
    """An optimizer in coordinates in which the frames of a path do not pull at each other.

    The energy of a path is that of a chain of springs: a bend of the whole path is ``n_steps**2``
    times softer than one of a single frame, and an optimizer takes as many more steps to straighten
    it. The springs are the same for any model and any images, so their stiffness can be divided
    out: the optimizer moves the frames times the square root of the matrix of second differences
    in time. What remains is the conditioning of the model.

    Args:
        optimizer: Any optimizer; `plenoptax.lbfgs` profits most.

    Returns:
        An optimizer for variables whose first axis numbers the frames between the two ends.

    Example:
        >>> import plenoptax as plx
        >>> solver = plx.Solver(plx.precondition_path(plx.lbfgs()))
    """
    return PreconditionedPath(as_optimizer(optimizer))


@final
class PreconditionedPath(AbstractOptimizer):
    """See `precondition_path`.

    Attributes:
        optimizer: What moves the frames in their new coordinates.
    """

    optimizer: AbstractOptimizer

    def init(self, z: PyTree) -> PyTree:
        """See `AbstractOptimizer.init`."""
        return self.optimizer.init(_multiply(z, 0.5))

    def update(
        self, gradient: PyTree, state: PyTree, z: PyTree, *, value: Scalar, value_fn: Callable
    ) -> tuple[PyTree, PyTree, Outcome]:
        """See `AbstractOptimizer.update`."""
        moved, state, outcome = self.optimizer.update(
            _multiply(gradient, -0.5),
            state,
            _multiply(z, 0.5),
            value=value,
            value_fn=lambda frames: value_fn(_multiply(frames, -0.5)),
        )
        return _multiply(moved, -0.5), state, outcome

    def restart(self, state: PyTree, z: PyTree, accepted_z: PyTree) -> tuple[PyTree, PyTree]:
        """See `AbstractOptimizer.restart`."""
        both = (_multiply(frames, 0.5) for frames in (z, accepted_z))
        frames, state = self.optimizer.restart(state, *both)
        return _multiply(frames, -0.5), state


def _multiply(tree: PyTree, power: float) -> PyTree:
    """A power of the matrix of second differences times the frames."""

    def multiply(frames: Array) -> Array:
        size = len(frames)
        matrix = 2 * np.eye(size) - np.eye(size, k=1) - np.eye(size, k=-1)
        values, vectors = np.linalg.eigh(matrix)
        product = jnp.asarray((vectors * values**power) @ vectors.T, frames.dtype)
        return jnp.tensordot(product, frames, axes=1)

    return jax.tree.map(multiply, tree)
