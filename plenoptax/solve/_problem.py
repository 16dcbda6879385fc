import abc

import equinox as eqx
from jaxtyping import Array

from .._types import Key, PyTree, Scalar


class AbstractProblem(eqx.Module):
    """What is to be minimized: all that the loop knows of a method of synthesis.

    A problem is a frozen pytree: arrays are leaves (another image recompiles nothing), choices are
    static. It owns no optimizer, no history, no randomness and no files. Every method is pure and
    can be compiled.

    The optimizer moves ``z``, of which `decode` makes the image. ``memory`` is what a problem
    carries from step to step (a multiplier, a schedule); most have none and use ``None``. A problem
    of several stages carries a `Stage`.
    """

    @abc.abstractmethod
    def initial_image(self, key: Key) -> Array:
        """The image that a synthesis starts from when the user gives none."""

    @abc.abstractmethod
    def encode(self, image: Array) -> PyTree:
        """The ``z`` of an image."""

    @abc.abstractmethod
    def decode(self, z: PyTree) -> Array:
        """The image of a ``z``."""

    @abc.abstractmethod
    def project(self, z: PyTree) -> PyTree:
        """Hard constraints: the admissible point next to ``z``, taken after every step."""

    @abc.abstractmethod
    def objective(self, z: PyTree, memory: PyTree) -> tuple[Scalar, dict[str, Array]]:
        """The value to be minimized and what else is known of it.

        Returns:
            The value and its terms: ``"penalty"`` (before its weight) and any other arrays that
            are worth a column in the trace.
        """

    @abc.abstractmethod
    def start(self) -> PyTree:
        """The memory before the first step."""

    @abc.abstractmethod
    def advance(self, memory: PyTree, z: PyTree, terms: dict[str, Array]) -> PyTree:
        """The memory after an accepted step, or after the last that a `Stage` may take.

        Args:
            memory: The memory before it; a `Stage` counts the step already.
            z: The point that the step evaluated.
            terms: What `objective` said of it, and its value as ``"loss"``.
        """

    @abc.abstractmethod
    def residual(self, z: PyTree) -> PyTree:
        """What vanishes at a perfect solution, for least squares; ``None`` if nothing does."""
