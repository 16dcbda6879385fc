from collections.abc import Callable
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._types import PyTree, Scalar
from ..solve import AbstractOptimizer, AnyOptimizer, as_optimizer, Outcome


def precondition_path(optimizer: AnyOptimizer) -> AbstractOptimizer:
    """Precondition an optimizer so that the frames of a path do not pull at each other.

    The energy of a path is that of a chain of springs. A bend of the full path is ``n_steps**2``
    times softer than a bend at a single frame, so an optimizer takes that many times more steps to
    straighten it. The springs are the same for every model and all images, so their stiffness can
    be divided out: the optimizer moves the frames multiplied by the square root of the matrix of
    second differences in time. Only the conditioning of the model remains.

    Args:
        optimizer: Any optimizer; `plenoptax.lbfgs` gains most.

    Returns:
        An optimizer for variables whose first axis indexes the frames between the two ends.

    Example:
        >>> import plenoptax as plx
        >>> solver = plx.Solver(plx.precondition_path(plx.lbfgs()))
    """
    return PreconditionedPath(as_optimizer(optimizer))


@final
class PreconditionedPath(AbstractOptimizer):
    """The optimizer that `precondition_path` returns.

    Attributes:
        optimizer: The optimizer that moves the frames in their new coordinates.
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
    """Multiply the frames by a power of the matrix of second differences."""

    def multiply(frames: Array) -> Array:
        size = len(frames)
        matrix = 2 * np.eye(size) - np.eye(size, k=1) - np.eye(size, k=-1)
        values, vectors = np.linalg.eigh(matrix)
        product = jnp.asarray((vectors * values**power) @ vectors.T, frames.dtype)
        return jnp.tensordot(product, frames, axes=1)

    return jax.tree.map(multiply, tree)
