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
    """Find an image, or a set of them, that minimizes whatever you write down.

    The objective is ``objective_function(x) + penalty_lambda * penalty_function(x)``: most exciting
    images, images with a given representation, images about which two models disagree, sets of
    images that differ from each other.

    Attributes:
        objective_function: From an image to a scalar, or to a scalar and a dictionary of further
            numbers for the trace.
        template: An array of the image's shape and dtype, whose values do not matter.
        penalty_function: From an image to a scalar.
        penalty_lambda: The weight of the penalty, or its schedule.
        parametrization: What the optimizer moves in place of the pixels.

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
        """Pose the problem.

        Args:
            objective_function: See the class. Arrays that it uses, such as the parameters of a
                model, should be leaves of it (an Equinox module, or ``jax.tree_util.Partial(f,
                model)``): a function defined anew for each problem compiles each time.
            image_shape: The shape of the image, or of the set: (image, channel, height, width).
            penalty_function: By default what lies outside of [0, 1], squared and summed.
            penalty_lambda: Its weight, or a function of how many steps have been accepted.
            image_dtype: The dtype of the image, float32 or float64.
            parametrization: By default the pixels themselves.

        Raises:
            TypeError: If the objective or the penalty is of the wrong kind (see
                `plenoptax.validate`), or the image would be in half precision.
            ValueError: If one of them does not return one number that can be differentiated.
        """
        shape = tuple(image_shape)
        if not callable(objective_function):
            raise TypeError(
                f"The objective is a callable of an image; got {type(objective_function).__name__}."
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
        """Uniform noise in [0, 1]."""
        return jax.random.uniform(key, self.template.shape, self.template.dtype)

    def objective(
        self, z: PyTree, memory: Int[Array, ""] | None
    ) -> tuple[Scalar, dict[str, Array]]:
        """See `AbstractProblem.objective`."""
        image = self.decode(z)
        value, terms = _value_and_terms(self.objective_function(image))
        value, penalty = self.add_penalty(value, image, memory)
        return value, terms | penalty


class _Value(eqx.Module):
    """An objective without its further numbers."""

    function: Callable

    def __call__(self, image: Array) -> Scalar:
        return _value_and_terms(self.function(image))[0]


def _value_and_terms(output: PyTree) -> tuple[Scalar, dict[str, Array]]:
    return output if isinstance(output, tuple) else (output, {})


@checked(max_steps=STEPS, num_seeds=COUNT)
def synthesize(
    objective_function: Callable,
    image_shape: tuple[int, ...],
    penalty_function: Callable = penalize_range,
    penalty_lambda: float | Scalar | Callable = 0.1,
    *,
    image_dtype: jax.typing.DTypeLike = "float32",
    num_seeds: int | None = None,
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
        objective_function: See `Objective`.
        image_shape: See `Objective`.
        penalty_function: See `Objective`.
        penalty_lambda: See `Objective`.
        image_dtype: See `Objective`.
        num_seeds: How many images to make, each from its own initial image.
        key: Draws the initial image, uniform noise in [0, 1]; give this or `initial_image`.
        initial_image: Where to start, or an earlier result.
        optimizer: See `metamer`; by default Adam with amsgrad and a rate of 0.01.
        solver: See `metamer`, as the rest.
        max_steps: See there.
        record: See there.
        progress: See there.
        checkpoint: See there.
        parametrization: See there.

    Returns:
        The result; with `num_seeds` ``result[i]`` is that of one image.

    Raises:
        NonfiniteError: If the objective was not finite; its `result` keeps everything.
        ValueError: If arguments contradict each other.
        TypeError: If an argument is of the wrong kind.

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
        pose_all(lambda _: problem, problem.template, batch=False, num_seeds=num_seeds),
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
    )
