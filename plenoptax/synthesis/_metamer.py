import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jaxtyping import Array

from .._types import Key, PyTree, Scalar
from ..parametrize import AbstractParametrization, Pixels
from ..regularize import penalize_range
from ..solve import (
    AbstractProblem,
    Batched,
    Checkpoint,
    init,
    Record,
    Solver,
)
from ..solve import (
    batch as make_batch,
)
from ._defaults import default_initial_image, default_loss, default_optimizer
from ._entry import choose_solver, describe_start, run_or_resume
from ._result import Result


class Metamer(AbstractProblem):
    """Find an image that a model cannot tell from a target.

    The objective is ``loss_function(model(x), model(image)) + penalty_lambda *
    penalty_function(x)``.

    Attributes:
        model: From an image to an array or a tree of arrays.
        image: The target image.
        target: Its representation, computed once.
        loss_function: From two representations, the synthesized one first, to a scalar.
        penalty_function: From an image to a scalar.
        penalty_lambda: The weight of the penalty.
        parametrization: What the optimizer moves in place of the pixels.

    References:
        Portilla and Simoncelli (2000), International Journal of Computer Vision 40, 49-70;
        Freeman and Simoncelli (2011), Nature Neuroscience 14, 1195-1201.

    Example:
        >>> import plenoptax as plx
        >>> problem = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7))
        >>> float(problem.objective_function(plx.data.brick()))
        0.0
    """

    model: Callable
    image: Array
    target: PyTree
    loss_function: Callable
    penalty_function: Callable
    penalty_lambda: Scalar
    parametrization: AbstractParametrization

    def __init__(
        self,
        image: Array,
        model: Callable,
        loss_function: Callable | None = None,
        penalty_function: Callable = penalize_range,
        penalty_lambda: float | Scalar = 0.1,
        *,
        parametrization: AbstractParametrization | None = None,
    ):
        """Pose the problem.

        Args:
            image: The target, of any shape that the model takes; no batch axis.
            model: Any callable of one image that JAX can differentiate. It should be a pytree, such
                as an Equinox module, or a function that is defined once: a new lambda for each
                problem compiles each time.
            loss_function: By default `plenoptax.loss.mse`; for Portilla-Simoncelli the loss of
                `portilla_simoncelli_loss_factory`.
            penalty_function: By default what lies outside of [0, 1], squared and summed.
            penalty_lambda: Its weight.
            parametrization: By default the pixels themselves.

        Raises:
            TypeError: If the image is not an array of floating-point numbers, the model is not
                callable, or it does not return arrays.
            ValueError: If the image is not finite.
        """
        _check_image(image)
        if not callable(model):
            raise TypeError(
                f"The model is a callable from an image to arrays; got {type(model).__name__}."
            )
        self.model = model
        self.image = jnp.asarray(image)
        self.target = _represent(model, self.image)
        self.loss_function = loss_function or default_loss(model, self.image)
        self.penalty_function = penalty_function
        self.penalty_lambda = jnp.asarray(penalty_lambda, jnp.result_type(float))
        self.parametrization = parametrization or Pixels()

    def __getattr__(self, name: str) -> Any:
        if name in ("setup", "synthesize", "save", "load", "to"):
            raise AttributeError(
                f"A problem has no {name!r}: plenoptax.metamer(image, model, ...) synthesizes, "
                "plenoptax.run goes on from a state, and plenoptax.io saves it."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def initial_image(self, key: Key) -> Array:
        """Uniform noise in [0, 1]; for Portilla-Simoncelli faint noise about the target's mean."""
        return default_initial_image(self.model, self.image, key)

    def encode(self, image: Array) -> PyTree:
        """See `AbstractProblem.encode`."""
        return self.parametrization.encode(image)

    def decode(self, z: PyTree) -> Array:
        """See `AbstractProblem.decode`."""
        return self.parametrization.decode(z)

    def project(self, z: PyTree) -> PyTree:
        """See `AbstractProblem.project`."""
        return self.parametrization.project(z)

    def objective(self, z: PyTree, memory: None) -> tuple[Scalar, dict[str, Array]]:
        """See `AbstractProblem.objective`."""
        return self._evaluate(self.decode(z), self.target)

    def start(self) -> None:
        """A metamer needs no memory."""

    def advance(self, memory: None, z: PyTree, terms: dict[str, Array]) -> None:
        """A metamer needs no memory."""

    def residual(self, z: PyTree) -> PyTree:
        """The difference between the representations of the image and of the target."""
        return jax.tree.map(jnp.subtract, self.model(self.decode(z)), self.target)

    def objective_function(
        self, image: Array, target_representation: PyTree = None, **model_arguments: Any
    ) -> Scalar:
        """The objective at any image.

        Args:
            image: The image to judge.
            target_representation: What to compare its representation with, by default `target`.
            **model_arguments: For the model, such as ``scales`` of a multiscale one.
        """
        target = self.target if target_representation is None else target_representation
        return self._evaluate(image, target, **model_arguments)[0]

    def _evaluate(
        self, image: Array, target: PyTree, **model_arguments: Any
    ) -> tuple[Scalar, dict[str, Array]]:
        loss = self.loss_function(self.model(image, **model_arguments), target)
        penalty = self.penalty_function(image)
        weight = self.penalty_lambda.astype(penalty.dtype)
        return loss + (weight * penalty).astype(loss.dtype), {"penalty": penalty}


@eqx.filter_jit
def _represent(model: Callable, image: Array) -> PyTree:
    return model(image)


def _check_image(image: Array) -> None:
    dtype = getattr(image, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            "The image is an array of floating-point numbers, such as plenoptax.load_images "
            f"returns; got {type(image).__name__ if dtype is None else dtype}."
        )
    is_traced = isinstance(image, Tracer)
    if not is_traced and not bool(jnp.all(jnp.isfinite(image))):
        raise ValueError("The image has values that are infinite or not a number.")


def metamer(
    image: Array,
    model: Callable,
    loss_function: Callable | None = None,
    penalty_function: Callable = penalize_range,
    penalty_lambda: float | Scalar = 0.1,
    *,
    key: Key | None = None,
    initial_image: Array | Result | None = None,
    optimizer: optax.GradientTransformation | None = None,
    solver: Solver | None = None,
    max_steps: int = 500,
    record: Record | int | None = None,
    progress: bool = True,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    parametrization: AbstractParametrization | None = None,
    batch: bool = False,
    num_seeds: int | None = None,
) -> Result:
    """Synthesize a metamer: an image that a model cannot tell from a target.

    Args:
        image: The target, of any shape that the model takes; with `batch` one axis more.
        model: See `Metamer`.
        loss_function: See `Metamer`.
        penalty_function: See `Metamer`.
        penalty_lambda: See `Metamer`.
        key: Draws the initial image; give this or `initial_image`.
        initial_image: Where to start, of another size than the target if the model takes it; or an
            earlier result.
        optimizer: Any optax transformation; stops by the default rule of `Solver`. By default
            `plenoptax.lbfgs` for Portilla-Simoncelli, else Adam with amsgrad and a rate of 0.01.
        solver: An optimizer with a stop rule of your own; not both.
        max_steps: How many steps to take at most. A step of `plenoptax.lbfgs` is one evaluation.
        record: Which images to keep; see `Record`.
        progress: Whether to show a progress bar.
        checkpoint: A file to save to while running. If it is there already, the synthesis goes on
            from it, up to `max_steps` in all, as if it had never stopped.
        parametrization: See `Metamer`.
        batch: Whether the first axis of `image` numbers targets, each with a metamer of its own.
        num_seeds: How many metamers of one target to make, each from its own initial image.

    Returns:
        The result; for a batch (`batch` or `num_seeds`) ``result[i]`` is that of one element.

    Raises:
        NonfiniteError: If the objective was not finite; its `result` keeps everything.
        ValueError: If arguments contradict each other, or do not fit the model.
        TypeError: If an argument is of the wrong kind.

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
            parametrization=parametrization,
        )

    problem = _pose(pose, image, batch, num_seeds)
    solver = choose_solver(optimizer, solver, lambda: default_optimizer(model))
    if isinstance(initial_image, Result):
        initial_image = initial_image.image
    state = init(problem, solver, key=key, initial_image=initial_image)
    provenance = describe_start(problem, image, key)
    return run_or_resume(
        problem,
        solver,
        state,
        max_steps,
        record=record,
        progress=progress,
        checkpoint=checkpoint,
        provenance=provenance,
    )


def _pose(
    pose: Callable[[Array], Metamer], image: Array, batch: bool, num_seeds: int | None
) -> Metamer | Batched:
    if batch and num_seeds is not None:
        raise ValueError(
            "Give batch=True (a metamer for each image) or num_seeds= (several of one image), not "
            "both; plenoptax.batch maps over any combination."
        )
    if batch:
        _check_image(image)
        return make_batch(pose, image)
    if num_seeds is not None:
        problem = pose(image)
        return make_batch(lambda _: problem, jnp.arange(num_seeds))
    return pose(image)
