import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from .._compiled import compiled
from .._precision import refuse_half
from .._tree import strong
from .._types import Key, PyTree, Scalar
from ._batch import Batched, check_problem
from ._problem import AbstractProblem
from ._solver import as_solver, Solver
from ._status import Status


class State(eqx.Module):
    """What the next step needs, and nothing else. Saved, it resumes exactly.

    In a batch every leaf has one leading axis more.

    Attributes:
        z: The point that is evaluated next.
        accepted_z: The last accepted point, of which the image is made. After `run` it is the point
            that the last loss of the trace belongs to.
        accepted_loss: The objective there.
        optimizer_state: The optimizer's.
        stop_state: The stop rule's.
        memory: The problem's.
        num_steps: Steps taken.
        num_evaluations: Evaluations of the objective in these steps.
        status: How the synthesis stands.
    """

    # The iterate
    z: PyTree
    accepted_z: PyTree
    accepted_loss: Float[Array, "..."]
    # What moves it
    optimizer_state: PyTree
    stop_state: PyTree
    memory: PyTree
    # Counters
    num_steps: Int[Array, "..."]
    num_evaluations: Int[Array, "..."]
    status: Status


class Info(eqx.Module):
    """What a human wants to see of one step.

    Attributes:
        loss: The whole objective at the point that the step evaluated.
        penalty: The penalty there, before its weight.
        gradient_norm: The norm of the gradient with respect to ``z``.
        pixel_change_norm: How far the step moved the image, in units of pixel values.
        learning_rate: The optimizer's, if it exposes one (`optax.inject_hyperparams` does), times
            the factor of a plateau schedule; else not a number.
        num_evaluations: Evaluations of the objective: 1, and those of a line search inside.
        accepted: Whether the point was accepted; always, where the optimizer has no trials and the
            point is finite.
        terms: What else the problem reports.
    """

    loss: Float[Array, "..."]
    penalty: Float[Array, "..."]
    gradient_norm: Float[Array, "..."]
    pixel_change_norm: Float[Array, "..."]
    learning_rate: Float[Array, "..."]
    num_evaluations: Int[Array, "..."]
    accepted: Bool[Array, "..."]
    terms: dict[str, Array]


def init(
    problem: AbstractProblem | Batched,
    solver: Solver | optax.GradientTransformation,
    *,
    key: Key | None = None,
    initial_image: Array | None = None,
) -> State:
    """The state before the first step.

    Args:
        problem: What is minimized, or a batch of it.
        solver: How, or a bare optimizer.
        key: Draws the problem's own initial image. A batch splits it, one key an element.
        initial_image: The image to start from instead. For a batch it may have a leading axis, or
            not, and then every element starts from the same image.

    Raises:
        ValueError: If neither or both of `key` and `initial_image` are given, if the initial image
            is not finite, or if the model does not take it.
        TypeError: If the initial image is not an array of real numbers in float32 or float64, or
            the problem or the key is none.

    Example:
        >>> import jax, plenoptax as plx
        >>> problem = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7))
        >>> solver = plx.Solver(plx.lbfgs())
        >>> state = plx.init(problem, solver, key=jax.random.key(0))
        >>> int(state.num_steps)
        0
    """
    check_problem(problem)
    solver = as_solver(solver)
    if key is not None and not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(f"key= takes a key, such as jax.random.key(0); got {key!r}.")
    if (key is None) == (initial_image is None):
        given = "neither" if key is None else "both"
        raise ValueError(
            "Give key= (draws the usual initial image) or initial_image= (starts from yours), not "
            f"both; {given} was given."
        )
    if initial_image is not None:
        initial_image = check_initial_image(initial_image)
    if isinstance(problem, Batched):
        return _init_batch(problem, solver, key, initial_image)
    if initial_image is None:
        return _init_from_key(problem, solver, key)  # pyright: ignore[reportArgumentType]
    check_objective(problem, initial_image)
    return _init_from_image(problem, solver, initial_image)


@compiled(lambda problem, solver, image: image.size)
def _init_from_image(problem: AbstractProblem, solver: Solver, image: Array) -> State:
    return init_from_image(problem, solver, image)


@eqx.filter_jit
def _init_from_key(problem: AbstractProblem, solver: Solver, key: Key) -> State:
    # Compiled as a whole: one by one, its little operations take a second to compile.
    return init_from_image(problem, solver, problem.initial_image(key))


def _init_batch(
    problem: Batched, solver: Solver, key: Key | None, initial_image: Array | None
) -> State:
    if initial_image is None:
        keys = jax.random.split(key, problem.size)  # pyright: ignore[reportArgumentType]
        initial_image = problem.map(lambda p, k: p.initial_image(k), keys)
    else:
        rank = problem.map_shape(lambda p: p.initial_image(jax.random.key(0))).ndim - 1
        if initial_image.ndim == rank:
            initial_image = jnp.broadcast_to(initial_image, (problem.size, *initial_image.shape))
        elif initial_image.shape[0] != problem.size:
            raise ValueError(
                f"The initial images have shape {initial_image.shape}, but the batch has "
                f"{problem.size} elements: give one image for each along the first axis, or one "
                "image without that axis for all."
            )
    check_objective(problem[0], jnp.asarray(initial_image)[0])
    return problem.map(lambda p, image: init_from_image(p, solver, image), initial_image)


def check_initial_image(image: Array) -> Array:
    """Refuse what no synthesis can start from."""
    if not hasattr(image, "dtype"):
        raise TypeError(f"The initial image is an array; got {type(image).__name__}.")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(
            f"The initial image is an array of floating-point numbers; got {image.dtype}. "
            "plenoptax.load_images reads image files as such."
        )
    if not np.isfinite(np.asarray(image)).all():
        raise ValueError("The initial image has values that are infinite or not a number.")
    return jnp.asarray(image)


def check_objective(problem: AbstractProblem, initial_image: Array) -> None:
    """Refuse an initial image that the model does not take; evaluates nothing but shapes."""
    usual = eqx.filter_eval_shape(lambda p: p.initial_image(jax.random.key(0)), problem)
    if initial_image.dtype != usual.dtype:
        raise TypeError(
            f"The initial image is {initial_image.dtype}, but the target is {usual.dtype}; convert "
            "one to the other's dtype."
        )
    if initial_image.shape != usual.shape:
        warnings.warn(
            f"The initial image has shape {initial_image.shape}, the target {usual.shape}: the "
            "result will have the shape of the initial image.",
            UserWarning,
            stacklevel=3,
        )
        try:
            eqx.filter_eval_shape(_evaluate_image, problem, initial_image)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The model's representation of an initial image of shape {initial_image.shape} "
                f"cannot be compared with that of the target of shape {usual.shape}: {error}"
            ) from error


def _evaluate_image(problem: AbstractProblem, image: Array) -> Scalar:
    return problem.objective(problem.encode(image), problem.start())[0]


def init_from_image(problem: AbstractProblem, solver: Solver, image: Array) -> State:
    """The state before the first step, of a problem that is no batch; pure."""
    return init_from_z(problem, solver, problem.encode(image))


def init_from_z(problem: AbstractProblem, solver: Solver, z: PyTree) -> State:
    """As `init_from_image`, from the encoded image; pure."""
    z = problem.project(z)
    dtype = jnp.result_type(*jax.tree.leaves(z))
    refuse_half("The variable that a solver moves", dtype)
    state = State(
        z=z,
        accepted_z=z,
        accepted_loss=jnp.full((), jnp.inf, dtype),
        optimizer_state=solver.optimizer.init(z),
        stop_state=solver.stop.init(dtype),
        memory=problem.start(),
        num_steps=jnp.zeros((), jnp.int32),
        num_evaluations=jnp.zeros((), jnp.int32),
        status=Status.running,
    )
    return strong(state)
