import os
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .._answers import answer
from .._rules import checked, COUNT, STEPS
from .._types import Key, PyTree, Scalar
from ..parametrize import AbstractParametrization
from ..regularize import penalize_range
from ..solve import AbstractLeastSquares, AnyOptimizer, Checkpoint, Record, Solver
from ._entry import (
    default_initial_image,
    default_loss,
    default_optimizer,
    pose_all,
    synthesize_problem,
)
from ._problem import (
    AbstractOneStageProblem,
    AbstractParametrizedProblem,
    as_jax,
    as_parametrization,
    as_targets,
    as_weight,
    check_target,
    measure_target,
)
from ._result import Result


_CITATION = """@article{freeman2011metamers,
  author = {Freeman, Jeremy and Simoncelli, Eero P.},
  title = {Metamers of the Ventral Stream},
  journal = {Nature Neuroscience},
  volume = {14}, number = {9}, pages = {1195--1201}, year = {2011},
  doi = {10.1038/nn.2889}
}"""


class Metamer(AbstractParametrizedProblem, AbstractOneStageProblem, AbstractLeastSquares):
    """The problem of a metamer: an image that a model cannot distinguish from a target.

    The objective is ``loss_function(model(x), model(image)) + penalty_lambda *
    penalty_function(x)``.

    Attributes:
        model: A function from an image to an array or a tree of arrays.
        image: The target image.
        target: The representation of the target image, computed once.
        loss_function: A function from two representations, the synthesized one first, to a scalar.
        penalty_function: A function from an image to a scalar.
        penalty_lambda: The weight of the penalty, or its schedule.
        parametrization: The variables that the optimizer moves instead of the pixels.

    References:
        Portilla and Simoncelli (2000), International Journal of Computer Vision 40, 49-70;
        Freeman and Simoncelli (2011), Nature Neuroscience 14, 1195-1201.

    Example:
        >>> import plenoptax as plx
        >>> problem = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7))
        >>> float(problem.objective_function(plx.data.brick()))
        0.0
    """

    citation: ClassVar[str] = _CITATION
    model: Callable
    image: Array
    target: PyTree
    loss_function: Callable
    penalty_function: Callable
    penalty_lambda: Scalar | Callable
    parametrization: AbstractParametrization

    def __init__(
        self,
        image: Array,
        model: Callable,
        loss_function: Callable | None = None,
        penalty_function: Callable = penalize_range,
        penalty_lambda: float | Scalar | Callable = 0.1,
        *,
        target_representation: PyTree | None = None,
        parametrization: AbstractParametrization | None = None,
    ):
        """Build the problem.

        Args:
            image: The target, of any shape that the model takes; no batch axis.
            model: Any callable of one image that JAX can differentiate. Give a pytree, such as an
                Equinox module, or a function that is defined once: a new lambda for each problem
                compiles each time.
            loss_function: A function from two representations to a scalar. By default the model's
                own, such as `PortillaSimoncelli.default_loss`, else `plenoptax.loss.mse`.
            penalty_function: A function from an image to a scalar. By default the sum of squares of
                the distances of pixel values from [0, 1].
            penalty_lambda: The weight of the penalty, or a function of the number of accepted
                steps, such as an optax schedule.
            target_representation: The representation to match instead of the image's own, such as
                the mean over several images for a mixture of textures.
            parametrization: The variables that the optimizer moves; by default the pixels.

        Raises:
            TypeError: If the image, the model, the loss or the penalty is of the wrong type; see
                `plenoptax.validate`.
            ValueError: If the image or its representation is not finite, or the model, the loss or
                the penalty cannot be used.

        Warns:
            UserWarning: If values leave the range of the penalty, or if the image has several
                channels and the model measures each of them alone, as `PortillaSimoncelli` does.
        """
        image = as_jax(image)
        check_target(image, model, penalty_function, penalty_lambda)
        self.model = model
        self.image = image
        self.target = measure_target(model, image, target_representation, loss_function)
        self.loss_function = loss_function or default_loss(
            model, image, self.target, in_stages=False
        )
        self.penalty_function = penalty_function
        self.penalty_lambda = as_weight(penalty_lambda)
        self.parametrization = as_parametrization(parametrization)

    def initial_image(self, key: Key) -> Array:
        """Return the model's own start (`PortillaSimoncelli.initial_image`), else uniform noise."""
        return default_initial_image(self.model, self.image, key)

    def objective(
        self, z: PyTree, memory: Int[Array, ""] | None
    ) -> tuple[Scalar, dict[str, Array]]:
        """Return the loss between the representations plus the weighted penalty, and the terms.

        The terms are ``"penalty"`` and those of the loss's ``trace_terms``, if it has this method.
        """
        image = self.decode(z)
        representation = self.model(image)
        loss = self.loss_function(representation, self.target)
        total, terms = self.add_penalty(loss, image, memory)
        more_terms = answer(self.loss_function, "trace_terms", lambda *_: {})
        return total, terms | more_terms(representation, self.target)

    def residual(self, z: PyTree) -> PyTree:
        """Return the difference between the representations of the image and the target."""
        return jax.tree.map(jnp.subtract, self.model(self.decode(z)), self.target)

    def objective_function(
        self, image: Array, target_representation: PyTree = None, **model_arguments: Any
    ) -> Scalar:
        """Return the objective at any image.

        Args:
            image: The image to judge.
            target_representation: The representation to compare with, by default `target`.
            **model_arguments: Further arguments of the model, such as ``scales`` of a multiscale
                model.
        """
        target = self.target if target_representation is None else target_representation
        loss = self.loss_function(self.model(image, **model_arguments), target)
        return self.add_penalty(loss, image, None)[0]


@checked(max_steps=STEPS, num_seeds=COUNT, batch_size=COUNT)
def metamer(
    image: Array,
    model: Callable,
    loss_function: Callable | None = None,
    penalty_function: Callable = penalize_range,
    penalty_lambda: float | Scalar | Callable = 0.1,
    *,
    key: Key | None = None,
    initial_image: Array | Result | None = None,
    optimizer: AnyOptimizer | None = None,
    solver: Solver | None = None,
    max_steps: int = 500,
    record: Record | int | None = None,
    progress: bool = True,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    target_representation: PyTree | None = None,
    parametrization: AbstractParametrization | None = None,
    batch: bool = False,
    num_seeds: int | None = None,
    batch_size: int | None = None,
) -> Result:
    """Synthesize a metamer: an image that a model cannot distinguish from a target.

    Args:
        image: The target, of any shape that the model takes; with `batch` one extra leading axis.
        model: Any callable of one image that JAX can differentiate; see `Metamer`.
        loss_function: A function from two representations to a scalar. By default the model's own,
            else `plenoptax.loss.mse`.
        penalty_function: A function from an image to a scalar; by default
            `plenoptax.regularize.penalize_range`.
        penalty_lambda: The weight of the penalty, or its schedule; see `Metamer`.
        key: Draws the initial image; give this or `initial_image`.
        initial_image: The image to start from, or an earlier result. Its size may differ from that
            of the target if the model accepts it.
        optimizer: Any optax transformation, with the default stop rule of `Solver`. By default
            `plenoptax.lbfgs` if the loss or the model has ``lbfgs_memory``, such as
            Portilla-Simoncelli, else Adam with amsgrad and a learning rate of 0.01.
        solver: An optimizer with a stop rule of your own, instead of `optimizer`.
        max_steps: The maximum number of steps. A step of `plenoptax.lbfgs` is one evaluation.
        record: Which images to keep; see `Record`.
        progress: Whether to show a progress bar.
        checkpoint: A file to save to while running. If it exists already, the synthesis continues
            from it, up to `max_steps` in total, as if it had never stopped.
        target_representation: The representation to match instead of the image's own; see
            `Metamer`.
        parametrization: The variables that the optimizer moves; by default the pixels.
        batch: Whether the first axis of `image` indexes targets, each with its own metamer.
        num_seeds: The number of metamers to synthesize for one target, each from its own initial
            image.
        batch_size: The largest number of elements that are computed at once. A larger batch is run
            in slices, one after another; the result is the same, and its state is on the host.

    Returns:
        The result; for a batch (`batch` or `num_seeds`) ``result[i]`` is the result of one element.

    Raises:
        NonfiniteError: If the objective was not finite; its `result` keeps everything.
        ValueError: If arguments contradict each other, or do not fit the model.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> import jax, plenoptax as plx
        >>> model = plx.models.Gaussian(7)
        >>> result = plx.metamer(
        ...     plx.data.brick(), model, key=jax.random.key(0), max_steps=3, progress=False
        ... )
        >>> result.image.shape
        (1, 256, 256)
    """

    def pose(image: Array) -> Metamer:
        return Metamer(
            image,
            model,
            loss_function,
            penalty_function,
            penalty_lambda,
            target_representation=target_representation,
            parametrization=parametrization,
        )

    image = as_targets(image, penalty_function, penalty_lambda, batch=batch)
    problem = pose_all(pose, image, batch=batch, num_seeds=num_seeds, initial_image=initial_image)
    posed: Any = problem.posed
    return synthesize_problem(
        problem,
        image,
        default_solver=lambda: default_optimizer(model, posed.loss_function),
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
