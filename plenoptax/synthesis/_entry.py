import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
from jaxtyping import Array

from .. import io
from .._types import Key
from ..solve import (
    AbstractProblem,
    Batched,
    BatchedTrace,
    Checkpoint,
    NonfiniteError,
    Record,
    run,
    Solver,
    State,
    Trace,
)
from ._result import Result


def choose_solver(
    optimizer: optax.GradientTransformation | None,
    solver: Solver | None,
    default: Callable[[], optax.GradientTransformation],
) -> Solver:
    """The solver that the user means by one of two arguments, or by neither."""
    if optimizer is not None and solver is not None:
        raise ValueError("Give optimizer= or solver= (an optimizer and a stop rule), not both.")
    if solver is not None:
        return solver
    return Solver(default() if optimizer is None else optimizer)


def describe_start(
    problem: AbstractProblem | Batched, image: Array, key: Array | Key | None
) -> dict[str, Any]:
    """What a synthesis started from: its key, and what tells it from another synthesis."""
    content = np.ascontiguousarray(np.asarray(image)).tobytes()
    built = eqx.tree_pformat(problem).encode()
    return {
        "key": None if key is None else np.asarray(jax.random.key_data(key)).tolist(),
        "fingerprint": hashlib.sha256(content + built).hexdigest(),
    }


def run_or_resume(
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
        state = io.load(path, like=state)
        before = io.load_trace(path)
        _check_same(path, before, provenance)
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
        error.result = Result(*error.result)
        raise
    return Result(problem, state, trace)


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
