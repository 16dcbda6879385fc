import functools
import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import optax
from jaxtyping import Array

from .._answers import answer
from .._axes import advise_on_axes
from .._placement import one_copy, spread_over
from .._rules import check_key
from .._types import Key, PyTree
from .._words import describe_key, digest
from ..loss import mse
from ..solve import (
    AbstractProblem,
    amsgrad,
    AnyOptimizer,
    AnyProblem,
    Batched,
    BatchedTrace,
    Checkpoint,
    CheckpointError,
    init,
    lbfgs,
    NonfiniteError,
    Record,
    run,
    Solver,
    State,
    Trace,
)
from ..solve import (
    batch as make_batch,
)
from ..solve._files import load, load_trace
from ..solve._optimizer import describe_optimizer
from ..solve._parts import check_number_of_parts, is_share, own_path
from ._parts import run_in_slices
from ._problem import refuse_traced
from ._result import Result


def pose_all(
    pose: Callable[[Array], AbstractProblem],
    image: Array,
    *,
    batch: bool,
    num_seeds: int | None,
    initial_image: Array | Result | None = None,
) -> AnyProblem:
    """Return the problem of one image, of each image of a batch, or of one image several times.

    Args:
        pose: Builds the problem of one image, and checks the image.
        image: The image, or images that `as_targets` has checked.
        batch: Whether the first axis of `image` indexes images, each with its own problem.
        num_seeds: How many elements to make for one image, or None. They are distributed over the
            devices that hold copies of the image, or the initial images.
        initial_image: The initial images.
    """
    if batch and num_seeds is not None:
        raise ValueError(
            "Only one of batch=True (a synthesis for each image) and num_seeds= (several of one "
            "image) must be given, got both. Use plenoptax.batch for other combinations."
        )
    if batch:
        try:
            return make_batch(pose, image)
        except (TypeError, ValueError) as error:
            error.add_note(
                f"With batch=True the first axis of {image.shape} indexes images, of shape "
                f"{image.shape[1:]} each.{advise_on_axes(image.shape)}"
            )
            raise
    problem = pose(one_copy(image))
    if num_seeds is None:
        return problem
    seeds = spread_over(num_seeds, image, get_image(initial_image))
    return make_batch(lambda _: problem, seeds)


def synthesize_problem(
    problem: AnyProblem,
    image: PyTree,
    *,
    default_solver: Callable[[], AnyOptimizer | Solver],
    key: Key | None = None,
    initial_image: Array | Result | None,
    optimizer: AnyOptimizer | None,
    solver: Solver | None,
    max_steps: int | None,
    record: Record | int | None,
    progress: bool,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    batch_size: int | None = None,
) -> Result:
    """Start a synthesis, or continue from a checkpoint, and run it.

    All entry functions call this.

    Args:
        problem: The problem to minimize.
        image: The image or images it was built with, which identify its checkpoints.
        default_solver: Builds the default optimizer or solver if the user gave neither.
        key: Draws the initial image.
        initial_image: The image to start from instead, or an earlier result.
        optimizer: The user's optimizer, or None.
        solver: The user's solver, or None.
        max_steps: The maximum number of steps.
        record: Which images to keep.
        progress: Whether to show a progress bar.
        checkpoint: The file to save to, and to continue from if it exists.
        batch_size: The largest number of elements to run at once, or None for all.
    """
    solver = _choose_solver(optimizer, solver, default_solver)
    start = get_image(initial_image)
    refuse_traced(key, start)
    if key is not None:
        check_key(key)
    # The inputs, which distinguish this synthesis from others.
    provenance = {
        "image": digest(image),
        "key": describe_key(key),
        "initial_image": digest(start),
    }

    def run_part(
        part: AnyProblem, checkpoint: Checkpoint | str | os.PathLike | None, max_steps: int | None
    ) -> Result:
        return _run_or_resume(
            part,
            solver,
            init(part, solver, key=key, initial_image=start),
            max_steps,
            record=record,
            progress=progress,
            checkpoint=checkpoint,
            provenance=provenance,
        )

    if batch_size is not None and not isinstance(problem, Batched):
        raise ValueError(
            "batch_size must be None for a single image, because only a batch is run in slices, "
            f"got {batch_size}. Give batch=True or num_seeds= too."
        )
    if batch_size is None or batch_size >= problem.num_elements:
        return run_part(problem, checkpoint, max_steps)
    return run_in_slices(run_part, problem, batch_size, max_steps, checkpoint)


def _choose_solver(
    optimizer: AnyOptimizer | None,
    solver: Solver | None,
    default: Callable[[], AnyOptimizer | Solver],
) -> Solver:
    """Resolve `optimizer=` and `solver=` to a solver."""
    if optimizer is not None and solver is not None:
        raise ValueError(
            "Only one of optimizer= and solver= (an optimizer and a stop rule) must be given, got "
            "both. Leave out optimizer=."
        )
    chosen = solver if solver is not None else optimizer
    chosen = default() if chosen is None else chosen
    return chosen if isinstance(chosen, Solver) else Solver(chosen)


def _run_or_resume(
    problem: AnyProblem,
    solver: Solver,
    state: State,
    max_steps: int | None,
    *,
    record: Record | int | None,
    progress: bool,
    checkpoint: Checkpoint | str | os.PathLike | None,
    provenance: dict[str, Any],
) -> Result:
    """Run from a state or, if a checkpoint exists, from it, up to `max_steps` in total."""
    path = checkpoint.path if isinstance(checkpoint, Checkpoint) else checkpoint
    before = None
    if path is not None:
        check_number_of_parts(path, jax.process_count() if is_share(problem) else 1)
        path = own_path(path, problem)
    if path is not None and path.exists():
        before = load_trace(path)
        _check_same(path, before, problem, solver, provenance)
        state = load(path, like=state, problem=problem)
        if max_steps is not None:
            max_steps = max(max_steps - before.num_steps, 0)
    try:
        state, trace = run(
            problem,
            solver,
            state,
            max_steps,
            record=record,
            progress=progress,
            checkpoint=checkpoint,
            driver="auto" if before is None else before.provenance["driver"],
            provenance=provenance,
            trace=before,
        )
    except (CheckpointError, NonfiniteError) as error:
        error.result = Result(*error.result, solver=solver)
        raise
    return Result(problem, state, trace, solver)


def _check_same(
    path: str | os.PathLike,
    trace: Trace | BatchedTrace,
    problem: AnyProblem,
    solver: Solver,
    start: dict[str, Any],
) -> None:
    """Reject a checkpoint of another start, batch or optimizer; `io.load` compares the problem."""
    saved = trace.provenance
    if "image" not in saved:
        raise ValueError(
            f"The file {path} must be a checkpoint of a function such as plenoptax.metamer, got "
            "one of plenoptax.run, which does not record the initial image. Load it with "
            "plenoptax.io.load and continue with plenoptax.run."
        )
    optimizer = describe_optimizer(solver.optimizer)
    size = len(trace) if isinstance(trace, BatchedTrace) else None
    wanted = problem.join([None] * problem.num_elements, len)
    changes = {
        "number of elements (batch or num_seeds)": (size, wanted),
        "image": (saved["image"], start["image"]),
        "initial_image": (saved["initial_image"], start["initial_image"]),
        "key": (saved["key"], start["key"]),
        "optimizer": (saved["optimizer"], optimizer),
    }
    for what, (was, is_now) in changes.items():
        if was != is_now:
            told = "" if "image" in what else f": it was {was} and now is {is_now}"
            raise ValueError(
                f"The checkpoint {path} must belong to this synthesis, got one with another "
                f"{what}{told}. Give the arguments of the first call or another path, or remove "
                "the file to start again."
            )


def get_image(start: Array | Result | None) -> Array | None:
    """Return the starting image; for a `Result`, its image."""
    return start.image if isinstance(start, Result) else start


def default_loss(model: Callable, image: Array, target: PyTree, *, in_stages: bool) -> Callable:
    """Return the model's own loss for an image, else the mean squared error.

    Args:
        model: The model.
        image: The target image.
        target: Its representation.
        in_stages: Whether the loss receives parts of a representation, from coarse to fine.
    """
    make = answer(model, "default_stage_loss" if in_stages else "default_loss")
    loss = mse if make is None else make(image)
    # The loss of the full model may not fit the part that a partial model selects by its arguments.
    is_part = isinstance(model, functools.partial | eqx.Partial) and (model.args or model.keywords)
    return mse if is_part and not _takes(loss, target) else loss


def _takes(loss: Callable, representation: PyTree) -> bool:
    try:
        eqx.filter_eval_shape(loss, representation, representation)
    except (TypeError, ValueError):
        return False
    return True


def default_optimizer(model: Callable, loss: Callable | None = None) -> AnyOptimizer:
    """Return L-BFGS if the loss or model asks for it, else plenoptic's Adam, learning rate 0.01."""
    memory_size = answer(loss, "lbfgs_memory", answer(model, "lbfgs_memory"))
    return default_amsgrad(0.01) if memory_size is None else lbfgs(memory_size)


def default_amsgrad(learning_rate: float) -> optax.GradientTransformation:
    """Return Adam with amsgrad and its learning rate in the state, for stages and schedules."""
    of_rate = optax.inject_hyperparams(amsgrad, static_args=("b1", "b2", "eps"))
    return of_rate(learning_rate=learning_rate)


def default_initial_image(model: Callable, image: Array, key: Key) -> Array:
    """Return the model's own initial image, else uniform noise in [0, 1]."""
    draw = answer(model, "initial_image")
    if draw is None:
        return jax.random.uniform(key, image.shape, image.dtype)
    return draw(image, key=key)
