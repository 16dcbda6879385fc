from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int

from .._answers import answer, name_of
from .._compiled import call_compiled
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
        penalty_function: From an image to a scalar.
        penalty_lambda: The weight of the penalty: a number, or a function of how many steps have
            been accepted, such as an optax schedule.
    """

    penalty_function: eqx.AbstractVar[Callable]
    penalty_lambda: eqx.AbstractVar[Scalar | Callable]

    def __getattr__(self, name: str) -> Any:
        if name in ("setup", "synthesize", "save", "load", "to"):
            raise AttributeError(
                f"A problem has no {name!r}: plenoptax.metamer(image, model, ...) and its like "
                "synthesize, plenoptax.run goes on from a state, and plenoptax.io saves it."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def add_penalty(
        self, loss: Scalar, image: Array, num_steps: Int[Array, ""] | None
    ) -> tuple[Scalar, dict[str, Array]]:
        """The loss with the penalty of an image, and the penalty before its weight.

        Args:
            loss: What the method minimizes.
            image: The image to be penalized.
            num_steps: How many steps have been accepted, as `count_steps` has it.
        """
        penalty = self.penalty_function(image)
        weight = self.penalty_lambda
        if callable(weight):
            weight = jnp.asarray(weight(0 if num_steps is None else num_steps))
        weighted = weight.astype(penalty.dtype) * penalty
        return loss + weighted.astype(loss.dtype), {"penalty": penalty}

    def count_steps(self, num_steps: Int[Array, ""] | None = None) -> Int[Array, ""] | None:
        """The memory of a weight that follows a schedule, one step later; None for a constant."""
        if not callable(self.penalty_lambda):
            return None
        return jnp.zeros((), jnp.int32) if num_steps is None else num_steps + 1


class AbstractParametrizedProblem(AbstractProblem):
    """A problem whose image is what its parametrization makes of ``z``.

    Attributes:
        parametrization: What the optimizer moves in place of the pixels.
    """

    parametrization: eqx.AbstractVar[AbstractParametrization]

    def encode(self, image: Array) -> PyTree:
        """See `AbstractProblem.encode`."""
        return self.parametrization.encode(image)

    def decode(self, z: PyTree) -> Array:
        """See `AbstractProblem.decode`."""
        return self.parametrization.decode(z)

    def project(self, z: PyTree) -> PyTree:
        """See `AbstractProblem.project`."""
        return self.parametrization.project(z)


class AbstractOneStageProblem(AbstractPenalizedProblem):
    """A penalized problem whose objective stays the same but for the weight of the penalty."""

    def start(self) -> Int[Array, ""] | None:
        """The count of steps, if the penalty's weight follows a schedule."""
        return self.count_steps()

    def advance(
        self, memory: Int[Array, ""] | None, z: PyTree, terms: dict[str, Array]
    ) -> Int[Array, ""] | None:
        """See `AbstractProblem.advance`."""
        return self.count_steps(memory)


def as_parametrization(parametrization: AbstractParametrization | None) -> AbstractParametrization:
    """What the user gave, or the pixels themselves."""
    if parametrization is None:
        return Pixels()
    if not isinstance(parametrization, AbstractParametrization):
        raise TypeError(
            "The parametrization is one of plenoptax.parametrize, such as Sigmoid(); got "
            f"{parametrization!r}."
        )
    return parametrization


def measure_target(
    model: Callable, image: Array, given: PyTree | None, loss_function: Callable | None
) -> PyTree:
    """The representation to match, the image's own or what was given; checks the user's loss.

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
    # An element of a batch is being traced.
    gray = "images.mean(1" if isinstance(image, Tracer) else "image.mean(0"
    warn_caller(
        f"{name_of(model)} measures each of the {image.shape[0]} channels alone, and nothing "
        "between them: the metamer comes out in wrong colors, and its success stays unknown, for "
        "the default null is of gray photographs. Take the gray version, "
        f"{gray}, keepdims=True), or load it by plx.load_images(..., as_gray=True)."
    )


def _as_target(given: PyTree, wanted: PyTree) -> PyTree:
    """A representation to match in place of the image's own, which has to be like that one."""
    given = jax.tree.map(as_jax, given)
    found, expected = (
        str(jax.tree.map(lambda leaf: describe(leaf) if is_array(leaf) else repr(leaf), tree))
        for tree in (given, wanted)
    )
    if jax.tree.structure(given) != jax.tree.structure(wanted) or found != expected:
        raise ValueError(
            f"The target representation is {found}, but the model's of the image is {expected}."
        )
    return jax.tree.map(jnp.asarray, given)


def as_weight(penalty_lambda: float | Scalar | Callable) -> Scalar | Callable:
    """A weight as an array, so that another one recompiles nothing; a schedule as it is."""
    penalty_lambda = Real(at_least=0, schedule=True)("penalty_lambda", penalty_lambda)
    if callable(penalty_lambda):
        return penalty_lambda
    return jnp.asarray(penalty_lambda, jnp.result_type(float))


def as_jax(image: Any) -> Any:
    """A NumPy array as JAX holds it, in 32 bits unless told otherwise; anything else as it is."""
    return jnp.asarray(image) if isinstance(image, np.ndarray | np.generic) else image


def check_images(images: Array, penalty_function: Callable, penalty_lambda: Any) -> None:
    """Refuse a target, or a batch of them, that is not finite; warn where the penalty says so.

    A batch is checked before it is mapped: the problem of one of its elements cannot see values.
    """
    # Without a penalty on the range any value is allowed, such as those of a sound.
    validate_input(images, allowed_range=allowed_range_of(penalty_function, penalty_lambda))


def check_target(
    image: Array, model: Callable, penalty_function: Callable, penalty_lambda: Any
) -> None:
    """Refuse a target, a model or a penalty that no synthesis can use; see `plenoptax.validate`."""
    check_images(image, penalty_function, penalty_lambda)
    validate_model(model, image.shape, image.dtype)
    validate_penalty(penalty_function, image.shape, image.dtype)


def check_finite(response: PyTree) -> None:
    """Refuse a response that is not finite: no search about the image could come to anything."""
    leaves = jax.tree.leaves(response)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return
    wrong = sum(int(np.sum(~np.isfinite(np.asarray(leaf)))) for leaf in leaves)
    if wrong:
        raise ValueError(
            f"The model's response to the image is infinite or not a number in {wrong} of "
            f"{sum(leaf.size for leaf in leaves)} places. Look for roots, logarithms and divisions "
            "in it that meet zero or a negative number."
        )
