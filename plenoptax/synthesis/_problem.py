from collections.abc import Callable
from typing import Any, TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int

from .._answers import answer, name_of
from .._compiled import call_compiled
from .._replaced import ATTRIBUTES
from .._rules import Real
from .._tree import describe, is_array
from .._types import PyTree, Scalar
from .._warnings import warn_caller
from ..parametrize import AbstractParametrization, Pixels
from ..regularize import allowed_range_of
from ..solve import AbstractProblem
from ..validate import validate_input, validate_loss, validate_model, validate_penalty


class AbstractPenalizedProblem(AbstractProblem):
    """A problem with a penalty on the image.

    Attributes:
        penalty_function: A function from an image to a scalar.
        penalty_lambda: The weight of the penalty: a number, or a function of the number of accepted
            steps, such as an optax schedule.
    """

    penalty_function: eqx.AbstractVar[Callable]
    penalty_lambda: eqx.AbstractVar[Scalar | Callable]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            advice = f" Use {ATTRIBUTES[name]}." if name in ATTRIBUTES else ""
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}.{advice}")

    def add_penalty(
        self, loss: Scalar, image: Array, num_steps: Int[Array, ""] | None
    ) -> tuple[Scalar, dict[str, Array]]:
        """Return the loss plus the penalty of an image, and the penalty before its weight.

        Args:
            loss: The loss that the method minimizes.
            image: The image to penalize.
            num_steps: The number of accepted steps, from `count_steps`.
        """
        penalty = self.penalty_function(image)
        weight = self.penalty_lambda
        if callable(weight):
            weight = jnp.asarray(weight(0 if num_steps is None else num_steps))
        weighted = weight.astype(penalty.dtype) * penalty
        return loss + weighted.astype(loss.dtype), {"penalty": penalty}

    def count_steps(self, num_steps: Int[Array, ""] | None = None) -> Int[Array, ""] | None:
        """Return the next step count of a weight that follows a schedule; None for a constant."""
        if not callable(self.penalty_lambda):
            return None
        return jnp.zeros((), jnp.int32) if num_steps is None else num_steps + 1


class AbstractParametrizedProblem(AbstractProblem):
    """A problem whose parametrization maps ``z`` to the image.

    Attributes:
        parametrization: The variables that the optimizer moves instead of the pixels.
    """

    parametrization: eqx.AbstractVar[AbstractParametrization]

    def encode(self, image: Array) -> PyTree:
        """Return the ``z`` of an image; the inverse of `decode`.

        Args:
            image: An image of the shape of the target.
        """
        return self.parametrization.encode(image)

    def decode(self, z: PyTree) -> Array:
        """Return the image of a ``z``.

        Args:
            z: The variables that the parametrization moves; the pixels by default.
        """
        return self.parametrization.decode(z)

    def project(self, z: PyTree) -> PyTree:
        """Return the admissible point nearest to ``z``, such as pixels clipped to their bounds.

        Args:
            z: The variables after a step.
        """
        return self.parametrization.project(z)


class AbstractOneStageProblem(AbstractPenalizedProblem):
    """A penalized problem whose objective is constant, except for the weight of the penalty."""

    def start(self) -> Int[Array, ""] | None:
        """Return the count of steps, if the penalty's weight follows a schedule."""
        return self.count_steps()

    def advance(
        self, memory: Int[Array, ""] | None, z: PyTree, terms: dict[str, Array]
    ) -> Int[Array, ""] | None:
        """Return the count of steps after one more, if the penalty's weight follows a schedule.

        Args:
            memory: The count before the step, or None.
            z: The point of the step, which is not used.
            terms: The terms of the objective there, which are not used.
        """
        return self.count_steps(memory)


def as_parametrization(parametrization: AbstractParametrization | None) -> AbstractParametrization:
    """Return the user's parametrization, or the pixels themselves."""
    if parametrization is None:
        return Pixels()
    if not isinstance(parametrization, AbstractParametrization):
        raise TypeError(
            "parametrization must be one of plenoptax.parametrize, such as Sigmoid(), got "
            f"{parametrization!r}."
        )
    return parametrization


def measure_target(
    model: Callable, image: Array, given: PyTree | None, loss_function: Callable | None
) -> PyTree:
    """Return the representation to match, the image's own or the given one; check the user's loss.

    Warns:
        UserWarning: If the image has several channels, and the model says that it measures each of
            them alone.
    """
    _warn_of_lone_channels(model, image)
    target = call_compiled(model, image)
    check_finite(target)
    if given is not None:
        target = _as_target(given, target)
    if loss_function is not None:
        validate_loss(loss_function, target)
    return target


def _warn_of_lone_channels(model: Callable, image: Array) -> None:
    if answer(model, "relates_channels", True) or image.ndim != 3 or image.shape[0] == 1:
        return
    # JAX is tracing an element of a batch.
    gray = "images.mean(1" if isinstance(image, Tracer) else "image.mean(0"
    warn_caller(
        f"{name_of(model)} measures each of the {image.shape[0]} channels alone, and no "
        "relation between them. The metamer will have wrong colors, and its success will be "
        "unknown, because the default null consists of gray photographs. Use the gray image, "
        f"{gray}, keepdims=True), or load it with plx.load_images(..., as_gray=True)."
    )


def _as_target(given: PyTree, wanted: PyTree) -> PyTree:
    """Check that a given representation matches the image's in structure, shapes and dtypes."""
    given = jax.tree.map(as_jax, given)
    found, expected = (
        str(jax.tree.map(lambda leaf: describe(leaf) if is_array(leaf) else repr(leaf), tree))
        for tree in (given, wanted)
    )
    if jax.tree.structure(given) != jax.tree.structure(wanted) or found != expected:
        raise ValueError(
            f"target_representation must be like the representation of the image, {expected}, got "
            f"{found}."
        )
    return jax.tree.map(jnp.asarray, given)


def as_weight(penalty_lambda: float | Scalar | Callable) -> Scalar | Callable:
    """Return a weight as an array, so that another one recompiles nothing; a schedule as it is."""
    penalty_lambda = Real(at_least=0, schedule=True)("penalty_lambda", penalty_lambda)
    if callable(penalty_lambda):
        return penalty_lambda
    weight = jnp.asarray(penalty_lambda, jnp.result_type(float))
    if weight.ndim:
        raise ValueError(
            f"penalty_lambda must be one number, got an array of shape {weight.shape}. Give one "
            "element, or a sum of penalties with weights of their own."
        )
    return weight


def as_jax(image: Any) -> Any:
    """Return a NumPy array as a JAX array, in 32 bits by default; anything else as it is."""
    return jnp.asarray(image) if isinstance(image, np.ndarray | np.generic) else image


def as_image(image: Any) -> Any:
    """Return the image or the images of a method of synthesis as JAX arrays."""
    refuse_traced(image)
    return as_jax(image)


def as_targets(images: Any, penalty_function: Callable, penalty_lambda: Any, *, batch: bool) -> Any:
    """Return the target or the targets of a method of synthesis as JAX arrays.

    The values of a batch are checked here, before it is mapped, because the problem of an element
    cannot see them. A single target is checked by its problem.
    """
    images = as_image(images)
    if batch:
        check_images(images, penalty_function, penalty_lambda)
    return images


def refuse_traced(*arguments: PyTree) -> None:
    """Raise a TypeError if a method of synthesis is called inside of a JAX transformation."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arguments)):
        raise TypeError(
            "Images and keys must have values, got an array traced by jax.jit, jax.vmap or "
            "jax.grad. Methods of synthesis talk to the host while they run. Use batch=True or "
            "num_seeds= instead of jax.vmap, and plenoptax.advance inside of compiled functions."
        )


def check_images(images: Array, penalty_function: Callable, penalty_lambda: Any) -> None:
    """Raise an error if targets are not finite; warn if they leave the range of the penalty."""
    # Without a penalty on the range any value is allowed, such as those of a sound.
    validate_input(images, allowed_range=allowed_range_of(penalty_function, penalty_lambda))


def check_target(
    image: Array, model: Callable, penalty_function: Callable, penalty_lambda: Any
) -> None:
    """Raise an error if a target, model or penalty cannot be used; see `plenoptax.validate`."""
    check_images(image, penalty_function, penalty_lambda)
    validate_model(model, image.shape, image.dtype)
    validate_penalty(penalty_function, image.shape, image.dtype)


def check_finite(response: PyTree) -> None:
    """Raise an error if a response is not finite, because no search could start from it."""
    leaves = jax.tree.leaves(response)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return
    wrong = sum(int(np.sum(~np.isfinite(np.asarray(leaf)))) for leaf in leaves)
    if wrong:
        raise ValueError(
            f"The model's response to the image must be finite, got {wrong} infinite or NaN "
            f"values of {sum(leaf.size for leaf in leaves)}. Check the model for roots, logarithms "
            "and divisions at zero or at negative numbers."
        )
