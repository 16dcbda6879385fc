import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from .. import io
from .._types import Key, PyTree
from ..solve import (
    AbstractProblem,
    Batched,
    BatchedTrace,
    Checkpoint,
    init,
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
from ..solve._provenance import describe_key
from ._result import get_image, Result


def pose_all(
    pose: Callable[[Array], AbstractProblem],
    image: Array,
    *,
    batch: bool,
    num_seeds: int | None,
) -> AbstractProblem | Batched:
    """The problem of one image, of each image of a batch, or of one image several times over.

    Args:
        pose: Makes the problem of one image, which it checks.
        image: The image, or images that `check_images` has seen.
        batch: See `plenoptax.metamer`.
        num_seeds: See there.
    """
    if batch and num_seeds is not None:
        raise ValueError(
            "Give batch=True (a synthesis for each image) or num_seeds= (several of one image), "
            "not both; plenoptax.batch maps over any combination."
        )
    if batch:
        try:
            return make_batch(pose, image)
        except (TypeError, ValueError) as error:
            error.add_note(
                f"With batch=True the first axis of {image.shape} numbers images, of shape "
                f"{image.shape[1:]} each."
            )
            raise
    if num_seeds is not None:
        problem = pose(image)
        return make_batch(lambda _: problem, jnp.arange(num_seeds))
    return pose(image)


def synthesize_problem(
    problem: AbstractProblem | Batched,
    image: PyTree,
    *,
    default_solver: Callable[[], optax.GradientTransformation | Solver],
    key: Key | None,
    initial_image: Array | Result | None,
    optimizer: optax.GradientTransformation | None,
    solver: Solver | None,
    max_steps: int,
    record: Record | int | None,
    progress: bool,
    checkpoint: Checkpoint | str | os.PathLike | None,
) -> Result:
    """What the entry functions share: start, or go on from a checkpoint, and run.

    Args:
        problem: What to minimize.
        image: The image or images it was posed with, which tell its checkpoints from others.
        default_solver: Makes the optimizer of those who gave none, or the whole solver.
        key: See `plenoptax.metamer`, as the rest.
        initial_image: See there.
        optimizer: See there.
        solver: See there.
        max_steps: See there.
        record: See there.
        progress: See there.
        checkpoint: See there.
    """
    solver = _choose_solver(optimizer, solver, default_solver)
    state = init(problem, solver, key=key, initial_image=get_image(initial_image))
    return _run_or_resume(
        problem,
        solver,
        state,
        max_steps,
        record=record,
        progress=progress,
        checkpoint=checkpoint,
        provenance=_describe_start(problem, image, key),
    )


def _choose_solver(
    optimizer: optax.GradientTransformation | None,
    solver: Solver | None,
    default: Callable[[], optax.GradientTransformation | Solver],
) -> Solver:
    """The solver that the user means by one of two arguments, or by neither."""
    if optimizer is not None and solver is not None:
        raise ValueError("Give optimizer= or solver= (an optimizer and a stop rule), not both.")
    chosen = solver if solver is not None else optimizer
    chosen = default() if chosen is None else chosen
    return chosen if isinstance(chosen, Solver) else Solver(chosen)


def _describe_start(
    problem: AbstractProblem | Batched, images: PyTree, key: Array | Key | None
) -> dict[str, Any]:
    """What a synthesis started from: its key, and what tells it from another synthesis."""
    leaves = jax.tree.leaves(images)
    content = b"".join(np.ascontiguousarray(np.asarray(leaf)).tobytes() for leaf in leaves)
    built = eqx.tree_pformat(problem).encode()
    return {
        "key": describe_key(key),
        "fingerprint": hashlib.sha256(content + built).hexdigest(),
    }


def _run_or_resume(
    problem: AbstractProblem | Batched,
    solver: Solver,
    state: State,
    max_steps: int,
    *,
    record: Record | int | None,
    progress: bool,
    checkpoint: Checkpoint | str | os.PathLike | None,
    provenance: dict[str, Any],
) -> Result:
    """Run from a state or, if there is a checkpoint, from there up to `max_steps` in all."""
    path = checkpoint.path if isinstance(checkpoint, Checkpoint) else checkpoint
    before = None
    if path is not None and pathlib.Path(path).exists():
        before = io.load_trace(path)
        _check_same(path, before, provenance)
        state = io.load(path, like=state, problem=problem)
        max_steps = max(max_steps - _num_steps(before), 0)
    try:
        state, trace = run(
            problem,
            solver,
            state,
            max_steps,
            record=record,
            progress=progress,
            checkpoint=checkpoint,
            driver="auto" if before is None else _provenance(before)["driver"],
            provenance=provenance,
            trace=before,
        )
    except NonfiniteError as error:
        error.result = Result(*error.result, solver=solver)
        raise
    return Result(problem, state, trace, solver)


def _provenance(trace: Trace | BatchedTrace) -> dict[str, Any]:
    return (trace[0] if isinstance(trace, BatchedTrace) else trace).provenance


def _num_steps(trace: Trace | BatchedTrace) -> int:
    if isinstance(trace, BatchedTrace):
        return max(len(element) for element in trace.elements)
    return len(trace)


def _check_same(
    path: str | os.PathLike, trace: Trace | BatchedTrace, provenance: dict[str, Any]
) -> None:
    saved = _provenance(trace)
    for name, what in (("fingerprint", "target or problem"), ("key", "key")):
        if saved.get(name) != provenance[name]:
            raise ValueError(
                f"The checkpoint {path} is that of another {what}. Give another path, or remove "
                "the file to start anew."
            )
