import os
from typing import Any

import numpy as np
import optax

from .._rules import checked, STEPS
from ._batch import Batched, check_problem
from ._checkpoint import as_writer, Checkpoint
from ._driver import Driver
from ._problem import AbstractProblem
from ._progress import Interrupt, ProgressBar
from ._record import as_record, Record
from ._session import Session
from ._solver import as_solver, Solver
from ._state import State
from ._status import NonfiniteError, Status
from ._trace import BatchedTrace, Trace


@checked(max_steps=STEPS)
def run(
    problem: AbstractProblem | Batched,
    solver: Solver | optax.GradientTransformation,
    state: State,
    max_steps: int,
    *,
    record: Record | int | None = None,
    progress: bool = False,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    driver: Driver = "auto",
    trace: Trace | BatchedTrace | None = None,
    provenance: dict[str, Any] | None = None,
    throw: bool = True,
) -> tuple[State, Trace | BatchedTrace]:
    """Take steps until the stop rule fires, or `max_steps` more have been taken.

    Running for n steps and then for m is running for n + m, bit for bit on the same device, with
    the same driver, batch size and versions. A state that stopped is tested anew and goes on,
    except that one on a plateau stays there until it is given another stop rule. A rule of another
    kind or window starts with an empty memory.

    Ctrl-C ends the run after the steps under way and returns what there is, with the status
    `interrupted`; a second one raises `KeyboardInterrupt`.

    Args:
        problem: What is minimized, or a batch of it.
        solver: How, or a bare optimizer with the default stop rule.
        state: What `init` or an earlier run returned. It is left as it is.
        max_steps: How many steps to take at most, at least 0.
        record: Which images to keep: a `Record`, a number n for every n-th, or None for none.
        progress: Whether to show a progress bar.
        checkpoint: Where to save the state and the trace while running, about every half minute and
            at the end: a path or a `Checkpoint`.
        driver: ``"host"`` calls the compiled step from Python, ``"chunk"`` compiles the loop too;
            ``"auto"`` takes the faster one: the host's for models with convolutions on CPU, else
            the chunk's. The two agree to rounding, not bit for bit.
        trace: The trace up to `state`, to be gone on with: what is returned (and saved) is then the
            whole. Otherwise it is the trace of this run alone; ``trace + more`` joins two.
        provenance: Further facts for the trace's own, in values that fit into JSON.
        throw: Whether to raise when the objective is not finite (in a batch: in all elements).

    Returns:
        The new state and the trace of these steps; for a batch a trace for each element.

    Raises:
        NonfiniteError: See `throw`; its `result` keeps everything.
        ValueError: If an argument is wrong, or the state does not belong to the problem and solver.
        TypeError: If the problem is none.

    Example:
        >>> import jax, optax, plenoptax as plx
        >>> problem = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7))
        >>> solver = plx.Solver(optax.adam(0.01))
        >>> state = plx.init(problem, solver, key=jax.random.key(0))
        >>> state, trace = plx.run(problem, solver, state, 5)
        >>> trace.losses.shape
        (6,)
    """
    check_problem(problem)
    solver, record = as_solver(solver), as_record(record)
    writer = as_writer(checkpoint, problem)
    with Interrupt() as interrupt, ProgressBar(max_steps, visible=progress) as bar:
        session = Session(problem, solver, state, record, driver, provenance or {})
        while session.can_go_on(max_steps) and not interrupt.is_set():
            num_steps = session.advance(max_steps, interrupt)
            bar.update(num_steps, session.newest())
            if writer is not None and writer.is_due():
                writer.write(*_join(trace, *session.finish(Status.running)))
        ended = Status.interrupted if interrupt.is_set() else Status.step_limit
        state, whole = _join(trace, *session.finish(ended))
    if writer is not None:
        writer.write(state, whole)
    _raise_if_nonfinite(problem, state, whole, throw)
    return state, whole


def _join(
    before: Trace | BatchedTrace | None, state: State, trace: Trace | BatchedTrace
) -> tuple[State, Trace | BatchedTrace]:
    return state, trace if before is None else before + trace  # pyright: ignore[reportOperatorIssue]


def _raise_if_nonfinite(
    problem: AbstractProblem | Batched, state: State, trace: Trace | BatchedTrace, throw: bool
) -> None:
    if not (throw and np.all(np.asarray(state.status == Status.nonfinite))):
        return
    steps = np.asarray(state.num_steps).tolist()
    error = NonfiniteError(
        f"The objective or its gradient was not finite at step {steps}. The last accepted image "
        "and everything else are in the result attribute of this error. Check the model at that "
        "image, or take a smaller learning rate."
    )
    error.result = (problem, state, trace)
    raise error
