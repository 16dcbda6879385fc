import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..solve import (
    AnyProblem,
    BatchedTrace,
    Checkpoint,
    CheckpointError,
    NonfiniteError,
    Status,
)
from ..solve._parts import check_number_of_parts, is_share, part_path
from ._result import Result


def run_in_slices(
    run: Callable[[AnyProblem, Checkpoint | None, int | None], Result],
    problem: AnyProblem,
    batch_size: int,
    max_steps: int | None,
    checkpoint: Checkpoint | str | os.PathLike | None,
) -> Result:
    """Run a batch in slices of one size, one after another, and keep finished ones on the host.

    Args:
        run: Runs one slice, given its problem, its checkpoint and its number of steps.
        problem: The whole batch.
        batch_size: The largest number of elements in a slice.
        max_steps: The number of steps of each slice.
        checkpoint: The checkpoint of the batch; each slice has a file of its own.

    Raises:
        NonfiniteError: If no slice had a finite objective.
        CheckpointError: If a checkpoint could not be written. The result of either error has all
            slices.
    """
    slices = _slices(problem, batch_size)
    files = _files_of_slices(checkpoint, problem, len(slices))
    results, failures = [], []
    for indices, file in zip(slices, files, strict=True):
        part: Any = problem
        try:
            result = run(part.take(indices), file, max_steps)
        except (CheckpointError, NonfiniteError) as error:
            failures.append(error)
            result = error.result
        if np.any(np.asarray(result.status == Status.interrupted)):
            # The other slices are evaluated only.
            max_steps = 0
        results.append(dataclasses.replace(result, state=jax.device_get(result.state)))
    whole = join_results(results, [*slices], problem)
    lost = [error for error in failures if isinstance(error, CheckpointError)]
    if lost or len(failures) == len(slices):
        error = (lost or failures)[0]
        error.result = whole
        raise error
    return whole


def _slices(problem: AnyProblem, batch_size: int) -> list[np.ndarray]:
    """Return the indices of slices of the same size; the last element fills the last slice."""
    number = problem.num_elements
    devices = max(len(problem.devices), 1)
    if batch_size % devices:
        raise ValueError(
            f"batch_size must be a multiple of the number of devices, {devices}, got {batch_size}. "
            "Take such a multiple."
        )
    count = -(-number // batch_size)
    size = -(-number // (count * devices)) * devices
    indices = np.minimum(np.arange(count * size), number - 1)
    return [*indices.reshape(count, size)]


def _files_of_slices(
    checkpoint: Checkpoint | str | os.PathLike | None, problem: AnyProblem, count: int
) -> list[Checkpoint | None]:
    if checkpoint is None:
        return [None] * count
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)
    process, processes = (jax.process_index(), jax.process_count()) if is_share(problem) else (0, 1)
    check_number_of_parts(checkpoint.path, processes * count)
    paths = [
        part_path(checkpoint.path, process * count + i, processes * count) for i in range(count)
    ]
    return [dataclasses.replace(checkpoint, path=path) for path in paths]


def join_results(
    results: Sequence[Result], indices: Sequence[np.ndarray], problem: AnyProblem
) -> Result:
    """Join the results of the parts of a batch to that of the whole batch.

    Args:
        results: The results of the parts.
        indices: The indices of their elements in the batch. Of elements that occur twice, the first
            counts.
        problem: The whole batch.
    """
    _, order = np.unique(np.concatenate(indices), return_index=True)

    def join(*leaves: Any) -> np.ndarray:
        return np.concatenate([np.asarray(leaf) for leaf in leaves])[order]

    state, image = jax.tree.map(join, *((one.state, one.saved_image) for one in results))
    # The members of an enumeration compare with arrays of JAX only.
    status = jax.tree.map(jnp.asarray, state.status)
    state = dataclasses.replace(state, status=status)
    image = None if image is None else jnp.asarray(image)
    elements = [trace for one in results for trace in one.trace.elements]
    trace = BatchedTrace(tuple(elements[i] for i in order))
    return Result(problem, state, trace, results[0].solver, image)
