import os
from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Int

from .._axes import advised_on_axes
from .._precision import refuse_half
from .._rules import checked, COUNT, SIZES, STEPS
from .._types import Key, PyTree, Scalar
from ..parametrize import AbstractParametrization
from ..regularize import penalize_range
from ..solve import AnyOptimizer, Checkpoint, Record, Solver
from ..validate import validate_penalty
from ._entry import default_optimizer, pose_all, synthesize_problem
from ._problem import (
    AbstractOneStageProblem,
    AbstractParametrizedProblem,
    as_parametrization,
    as_weight,
)
from ._result import Result


class Objective(AbstractParametrizedProblem, AbstractOneStageProblem):
    """The problem of an image, or a set of images, that minimizes an objective of your own.

    The objective is ``objective_function(x) + penalty_lambda * penalty_function(x)``. Examples are
    most exciting images, images with a given representation, images about which two models
    disagree, and sets of images that differ from each other.

    Attributes:
        objective_function: A function from an image to a scalar, or to a scalar and a dictionary of
            further values for the trace.
        template: An array of the image's shape and dtype; its values are not used.
        penalty_function: A function from an image to a scalar.
        penalty_lambda: The weight of the penalty, or its schedule.
        parametrization: The variables that the optimizer moves instead of the pixels.

    References:
        Walker et al. (2019), Nature Neuroscience 22, 2060-2065, for most exciting images.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> problem = plx.Objective(lambda image: -jnp.mean(image), (1, 8, 8))
        >>> value, terms = problem.objective(jnp.ones((1, 8, 8)), problem.start())
        >>> float(value)
        -1.0
    """

    objective_function: Callable
    template: Array
    penalty_function: Callable
    penalty_lambda: Scalar | Callable
    parametrization: AbstractParametrization

    @checked(image_shape=SIZES)
    def __init__(
        self,
        objective_function: Callable,
        image_shape: tuple[int, ...],
        penalty_function: Callable = penalize_range,
        penalty_lambda: float | Scalar | Callable = 0.1,
        *,
        image_dtype: jax.typing.DTypeLike = "float32",
        parametrization: AbstractParametrization | None = None,
    ):
        """Build the problem.

        Args:
            objective_function: A function from an image to a scalar, as the class describes. Arrays
                that it uses, such as the parameters of a model, should be its leaves (in an Equinox
                module, or ``jax.tree_util.Partial(f, model)``). A function that is defined again
                for each problem compiles each time.
            image_shape: The shape of the image, or of the set: (image, channel, height, width).
            penalty_function: A function from an image to a scalar. By default the sum of squares of
                the distances of pixel values from [0, 1].
            penalty_lambda: The weight of the penalty, or a function of the number of accepted
                steps.
            image_dtype: The dtype of the image, float32 or float64.
            parametrization: The variables that the optimizer moves; by default the pixels.

        Raises:
            TypeError: If the objective or the penalty is of the wrong type (see
                `plenoptax.validate`), or the image would be in half precision.
            ValueError: If one of them does not return one differentiable number.
        """
        shape = tuple(image_shape)
        if not callable(objective_function):
            raise TypeError(
                "objective_function must be a callable of an image, got "
                f"{type(objective_function).__name__}."
            )
        refuse_half("The image of a synthesis", image_dtype)
        with advised_on_axes(shape):
            validate_penalty(_Value(objective_function), shape, image_dtype, name="objective")
        validate_penalty(penalty_function, shape, image_dtype)
        self.objective_function = objective_function
        self.template = jax.numpy.zeros(shape, image_dtype)
        self.penalty_function = penalty_function
        self.penalty_lambda = as_weight(penalty_lambda)
        self.parametrization = as_parametrization(parametrization)

    def initial_image(self, key: Key) -> Array:
        """Return uniform noise in [0, 1]."""
        return jax.random.uniform(key, self.template.shape, self.template.dtype)

    def objective(
        self, z: PyTree, memory: Int[Array, ""] | None
    ) -> tuple[Scalar, dict[str, Array]]:
        """Return the value of the function plus the weighted penalty, and its terms.

        Args:
            z: The variables of the image.
            memory: The count of steps, if the penalty's weight follows a schedule.
        """
        image = self.decode(z)
        value, terms = _value_and_terms(self.objective_function(image))
        value, penalty = self.add_penalty(value, image, memory)
        return value, terms | penalty


class _Value(eqx.Module):
    """An objective without its further values."""

    function: Callable

    def __call__(self, image: Array) -> Scalar:
        return _value_and_terms(self.function(image))[0]


def _value_and_terms(output: PyTree) -> tuple[Scalar, dict[str, Array]]:
    return output if isinstance(output, tuple) else (output, {})


@checked(max_steps=STEPS, num_seeds=COUNT, batch_size=COUNT)
def synthesize(
    objective_function: Callable,
    image_shape: tuple[int, ...],
    penalty_function: Callable = penalize_range,
    penalty_lambda: float | Scalar | Callable = 0.1,
    *,
    image_dtype: jax.typing.DTypeLike = "float32",
    num_seeds: int | None = None,
    batch_size: int | None = None,
    key: Key | None = None,
    initial_image: Array | Result | None = None,
    optimizer: AnyOptimizer | None = None,
    solver: Solver | None = None,
    max_steps: int = 500,
    record: Record | int | None = None,
    progress: bool = True,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    parametrization: AbstractParametrization | None = None,
) -> Result:
    """Synthesize an image that minimizes an objective of your own.

    Args:
        objective_function: A function from an image to a scalar, or to a scalar and a dictionary of
            values for the trace; see `Objective`.
        image_shape: The shape of the image, or of the set: (image, channel, height, width).
        penalty_function: A function from an image to a scalar; see `Objective`.
        penalty_lambda: The weight of the penalty, or its schedule; see `Objective`.
        image_dtype: The dtype of the image, float32 or float64.
        num_seeds: The number of images to synthesize, each from its own initial image.
        batch_size: The largest number of elements that are computed at once. A larger batch is run
            in slices, one after another; the result is the same, and its state is on the host.
        key: Draws the initial image, uniform noise in [0, 1]; give this or `initial_image`.
        initial_image: The image to start from, or an earlier result.
        optimizer: Any optax transformation, by default Adam with amsgrad and a learning rate of
            0.01.
        solver: An optimizer with a stop rule of your own, instead of `optimizer`.
        max_steps: The maximum number of steps.
        record: Which images to keep; see `Record`.
        progress: Whether to show a progress bar.
        checkpoint: A file to save to while running, and to continue from if it exists; see
            `metamer`.
        parametrization: The variables that the optimizer moves; by default the pixels.

    Returns:
        The result; with `num_seeds` ``result[i]`` is the result of one image.

    Raises:
        NonfiniteError: If the objective was not finite; its `result` keeps everything.
        ValueError: If arguments contradict each other.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> # The most exciting image of a linear neuron is its filter.
        >>> import jax, jax.numpy as jnp, plenoptax as plx
        >>> filter = plx.data.grating(16) - 0.5
        >>> result = plx.synthesize(
        ...     lambda image: -jnp.vdot(filter, image) / jnp.linalg.norm(image),
        ...     (1, 16, 16),
        ...     penalty_lambda=0.0,
        ...     optimizer=plx.lbfgs(),
        ...     key=jax.random.key(0),
        ...     max_steps=30,
        ...     progress=False,
        ... )
        >>> bool(jnp.corrcoef(result.image.ravel(), filter.ravel())[0, 1] > 0.999)
        True
    """
    problem = Objective(
        objective_function,
        image_shape,
        penalty_function,
        penalty_lambda,
        image_dtype=image_dtype,
        parametrization=parametrization,
    )
    return synthesize_problem(
        pose_all(
            lambda _: problem,
            problem.template,
            batch=False,
            num_seeds=num_seeds,
            initial_image=initial_image,
        ),
        problem.template,
        default_solver=lambda: default_optimizer(objective_function),
        key=key,
        initial_image=initial_image,
        optimizer=optimizer,
        solver=solver,
        max_steps=max_steps,
        record=record,
        progress=progress,
        checkpoint=checkpoint,
        batch_size=batch_size,
    )
