import dataclasses
import os
import time
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._compiled import compiled, jit, plan_loop
from .._progress import Interrupt, ProgressBar
from .._rules import as_whole_number, checked, STEPS
from .._tree import describe, tree_where
from .._types import PyTree
from .._words import describe_machine, in_words
from ..stop import AbstractStop
from ._checkpoint import Checkpoint, Saver
from ._loop import (
    AbstractSolver,
    advance_within,
    AnySolver,
    as_solver,
    BestSoFar,
    decode,
    State,
    traced_step,
    with_best,
    with_status,
)
from ._optimizer import describe_optimizer
from ._parts import is_share
from ._problem import AnyProblem, check_problem, describe_problem, Stage, Status
from ._trace import BatchedTrace, Info, Trace


Driver = Literal["auto", "host", "chunk"]

# Long enough that the host's part takes no measurable time (10 to 200 make no difference), short
# enough that the history of a chunk is a few kilobytes.
CHUNK_LENGTH = 128

# The host takes control about this often, for the bar, Ctrl-C, images and checkpoints.
_SECONDS_PER_CHUNK = 0.5


@dataclasses.dataclass(frozen=True)
class Record:
    """The images that a run records. Losses and norms are always recorded, one number per step.

    Attributes:
        every: The image before update 0, `every`, 2 `every`, ... is recorded on the host; 0 records
            none. ``losses[i]`` belongs to the image recorded at step ``i``. A whole number, at
            least 0.
        best: Whether to keep the accepted image of the smallest loss too, as the result's image.
            Optimizers without a line search do not end at their smallest loss. See `BestSoFar`.

    Example:
        >>> import plenoptax as plx
        >>> plx.Record(every=10, best=True)
        Record(every=10, best=True)
    """

    every: int = 0
    best: bool = False

    def __post_init__(self) -> None:
        if self.every is True:
            raise ValueError(
                "every (record=) must be a whole number, at least 0, got True. Give 1 to record "
                "every image."
            )
        object.__setattr__(self, "every", as_whole_number("every", self.every, at_least=0))


class NonfiniteError(ValueError):
    """The objective, its gradient or the moments of the optimizer became infinite or not a number.

    Attributes:
        result: The run up to there: from `run` the tuple ``(problem, state, trace)``, from the
            entry functions a `Result`.
    """

    result: PyTree


@checked(max_steps=STEPS)
def run(
    problem: AnyProblem,
    solver: AnySolver,
    state: State,
    max_steps: int | None,
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

    A run of n steps and then one of m steps give the same as one run of n + m steps, bit for bit on
    the same device, with the same driver, batch size and versions. A state that stopped is tested
    again and continues, unless it is on a plateau: then it stays there until another stop rule is
    given. A rule of another kind or window starts with an empty memory.

    A problem with stages, such as `plenoptax.MetamerCTF`, goes to its next stage by its own rule,
    independent of the length of the run. Only its last stage can end by the stop rule.

    Ctrl-C ends the run after the current steps and returns the result so far, with the status
    `interrupted`. A second Ctrl-C, and one before the first step, raises `KeyboardInterrupt`.

    Args:
        problem: The problem to minimize, or a batch of problems.
        solver: The solver, or an optimizer, which gets the default stop rule.
        state: A state that `init` or an earlier run returned. It is not changed.
        max_steps: The largest number of steps to take, at least 0. None is for problems whose
            stages have their own limit: the run then ends when the last stage stops or reaches its
            limit.
        record: The images to record: a `Record`, a number n for every n-th, or None for none.
        progress: Whether to show a progress bar.
        checkpoint: The file to save the state and the trace to, about every half minute and at the
            end: a path or a `Checkpoint`.
        driver: ``"host"`` calls the compiled step from Python, ``"chunk"`` compiles the loop too,
            and ``"auto"`` takes the faster one: the host for models with convolutions on the CPU,
            else the chunk. The two agree to rounding, not bit for bit.
        trace: An earlier trace, up to `state`. The returned and saved trace continues it. Without
            it, the trace is that of this run alone; ``trace + more`` joins two.
        provenance: Extra JSON-serializable entries for the trace's provenance.
        throw: Whether to raise an error if the objective is not finite (in a batch: in all
            elements).

    Returns:
        The new state and the trace of these steps; for a batch, one trace with all elements.

    Raises:
        NonfiniteError: See `throw`; its `result` keeps everything.
        CheckpointError: If the last checkpoint could not be written; its `result` keeps everything.
        OSError: If no checkpoint can be written at this path. It is tried before the first step.
        ValueError: If an argument is wrong, or the state does not belong to the problem and solver.
        TypeError: If `problem` is not a problem.

    Example:
        >>> import jax, optax, plenoptax as plx
        >>> problem = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7))
        >>> solver = plx.Solver(optax.adam(0.01))
        >>> state = plx.init(problem, solver, key=jax.random.key(0))
        >>> state, trace = plx.run(problem, solver, state, 5)
        >>> trace.losses.shape
        (6,)
    """
    if max_steps is None and getattr(state.memory, "max_steps", None) is None:
        raise ValueError(
            "max_steps must be a whole number, unless the problem has stages with their own limit "
            "(MetamerCTF with max_stage_steps), got None. Give a number of steps."
        )
    check_problem(problem)
    if not isinstance(record, Record):
        record = Record(every=record or 0)
    saver = Saver(checkpoint, problem)
    # Of several processes, the first draws the bar.
    visible = progress and not (is_share(problem) and jax.process_index())
    with ProgressBar(max_steps, "step", visible=visible) as bar:
        session = _Session(problem, as_solver(solver), state, max_steps, record, driver)
        session.provenance = provenance or {}
        # Before the first step there is nothing to keep, and compiling takes seconds: Ctrl-C raises
        # an error at once.
        count = session.advance() if session.can_go_on() else 0
        with Interrupt() as interrupt:
            while True:
                bar.update(count, session.newest)
                if saver.is_due():
                    saver.save(*session.finish(Status.running, trace))
                if interrupt.is_set() or not session.can_go_on():
                    break
                count = session.advance(interrupt)
            ended = Status.interrupted if interrupt.is_set() else Status.step_limit
            state, trace = session.finish(ended, trace)
            bar.update(0, session.newest)
    failure = saver.save_last(state, trace)
    if throw and np.all(np.asarray(state.status == Status.nonfinite)):
        steps = np.asarray(state.num_steps).tolist()
        error = NonfiniteError(
            f"The objective, its gradient or the moments of the optimizer were not finite at step "
            f"{steps}. The last accepted image and everything else are in the result attribute of "
            "this error. Check the model at that image, take a smaller learning rate, or divide an "
            "objective of more than 1e19 by a constant."
        )
        error.result = (problem, state, trace)
        raise error from failure
    if failure is not None:
        raise failure
    return state, trace


class _Session:
    """One call of `run`: the current state of its elements and the reports of their steps."""

    def __init__(
        self,
        problem: AnyProblem,
        solver: AbstractSolver,
        state: State,
        max_steps: int | None,
        record: Record,
        driver: Driver,
    ):
        self.provenance: dict[str, Any] = {}
        self.newest: dict[str, Any] = {}
        self._started = time.perf_counter()
        self._max_steps, self._record = max_steps, record
        state = _test_again(problem, solver.stop, state)
        if record.best and state.best is None:
            solver, state = BestSoFar(solver), with_best(state)
        self._problem, self._solver = problem, solver
        self._state = _own_copy(self._stopped_at_limit(state))
        self._choose_programs(driver)
        self._first_steps = self._counts("num_steps")
        self._first_evaluations = self._counts("num_evaluations")
        self._infos: list[list[Info]] = [[] for _ in self._first_steps]
        self._images: list[list[np.ndarray]] = [[] for _ in self._first_steps]
        self._image_steps: list[list[int]] = [[] for _ in self._first_steps]
        self._steps_per_chunk = 1
        self._num_steps = 0

    def can_go_on(self) -> bool:
        """Return whether steps are left, and an element to take them."""
        has_steps = self._max_steps is None or self._num_steps < self._max_steps
        return has_steps and bool(np.any(self._running()))

    def advance(self, interrupt: Interrupt | None = None) -> int:
        """Take steps for about half a second, or until the host has something to do.

        Returns:
            The number of steps of the element that took most.
        """
        steps, running = self._counts("num_steps"), self._running()
        limits = [self._steps_per_chunk]
        if self._max_steps is not None:
            limits += [self._max_steps - self._num_steps]
        else:
            # No last stage ends by its limit within so many steps.
            stage = self._state.memory
            left = stage.max_steps - jnp.where(stage.is_last, stage.num_steps, 0)
            limits += self._problem.rows(left)[running].tolist()
        if self._record.every:
            self._record_images(steps, running)
            limits += (self._record.every - steps[running] % self._record.every).tolist()
        started = time.perf_counter()
        self._state, infos = self._take(self._state, min(limits), interrupt)
        counts = self._counts("num_steps") - steps
        count = int(counts.max())
        if count == 0:
            return 0
        self._pace(count, time.perf_counter() - started)
        for element, taken in enumerate(counts):
            if taken:
                rows = jax.tree.map(lambda x, e=element, n=taken: x[e, :n], infos)
                self._infos[element].append(rows)
        self.newest = self._show(jax.tree.map(lambda x: x[:, count - 1], infos))
        self._num_steps += count
        self._state = self._stopped_at_limit(self._state)
        return count

    def finish(
        self, status: Status, before: Trace | BatchedTrace | None
    ) -> tuple[State, Trace | BatchedTrace]:
        """Return the state and the trace so far; the session can continue after that.

        Args:
            status: The status of the elements that have not stopped.
            before: The trace up to the beginning of this run, if it is to be continued.
        """
        state, last = self._evaluate()
        self.newest = self._show(last)
        state = with_status(state, state.status != Status.running, status)
        best_images = (
            [None] * len(self._infos) if state.best is None else self._decode(state.best.z)
        )
        best_losses = np.full(len(self._infos), np.inf)
        if state.best is not None:
            best_losses = self._problem.rows(state.best.loss)
        shape = self._decode(state.accepted_z).shape[1:]
        evaluations = self._counts("num_evaluations") - self._first_evaluations
        run = {
            "problem": describe_problem(self._problem),
            "optimizer": describe_optimizer(self._solver.optimizer),
            "stop": in_words(self._solver.stop),
            # Going on bit for bit takes the same one.
            "driver": self._plan.driver,
            **describe_machine(self._started),
            **self.provenance,
        }
        traces = []
        for element, rows in enumerate(self._infos):
            row = jax.tree.map(lambda x, e=element: x[e][None], last)
            images = self._images[element]
            # Where none was recorded, or none was fit to be the best, its loss is infinite.
            has_best = np.isfinite(best_losses[element])
            traces.append(
                Trace(
                    infos=jax.tree.map(lambda *parts: np.concatenate(parts), *rows, row),
                    images=np.stack(images) if images else np.zeros((0, *shape), np.float32),
                    image_steps=np.asarray(self._image_steps[element], np.int64),
                    best_image=best_images[element] if has_best else None,
                    best_loss=float(best_losses[element]),
                    provenance=run | {"num_evaluations": int(evaluations[element])},
                )
            )
        if self._record.best:
            state = dataclasses.replace(state, best=None)
        trace = self._problem.join(traces, BatchedTrace)
        return state, trace if before is None else before + trace

    def _choose_programs(self, driver: Driver) -> None:
        """Choose how to take and compile steps, from the jaxpr of one step."""
        if driver not in ("auto", "host", "chunk"):
            raise ValueError(f"driver must be 'auto', 'host' or 'chunk', got {driver!r}.")
        traced, _, _ = eqx.filter_make_jaxpr(traced_step)(self._problem, self._solver, self._state)
        devices = {device for leaf in jax.tree.leaves(self._state) for device in leaf.devices()}
        # Of one element, so that it is rounded as if it were alone.
        number = self._problem.num_elements
        size = sum(leaf.size for leaf in jax.tree.leaves(self._state.z)) // number
        on_each_device = number // max(len(self._problem.devices), 1)
        self._plan = plan_loop(traced.jaxpr, devices, size, on_each_device)
        if driver != "auto":
            self._plan = self._plan._replace(driver=driver)
        # The state is donated: it is the session's own copy, never the caller's.
        take = _take_chunk if self._plan.driver == "chunk" else _take_step
        given = (self._problem, self._solver, self._state)
        self._program = jit(take, self._plan.options, given, donate="all-except-first")

    def _take(
        self, state: State, limit: int, interrupt: Interrupt | None = None
    ) -> tuple[State, Info]:
        """Take at most `limit` steps from a state, whose arrays are donated.

        Returns:
            The new state, and the reports with the axes element and step.
        """
        if self._plan.driver == "chunk":
            limit = min(limit, CHUNK_LENGTH)
            fixed = (self._problem, self._solver, jnp.asarray(limit, jnp.int32))
            state, infos = self._program(fixed, state, self._plan.in_turn)
            return state, self._problem.rows(jax.device_get(infos))
        infos, fixed = [], (self._problem, self._solver)
        while len(infos) < limit and not (interrupt and interrupt.is_set()):
            if infos and not np.any(np.asarray(state.status == Status.running)):
                break
            state, info = self._program(fixed, state)
            infos.append(info)
        infos = map(self._problem.rows, jax.device_get(infos))
        return state, jax.tree.map(lambda *rows: np.stack(rows, axis=1), *infos)

    def _evaluate(self) -> tuple[State, Info]:
        """Fill in the loss of the last point from one extra step, whose update is dropped.

        If that point is a rejected trial, the report is that of the accepted point before it.
        """
        state = self._state
        new, info = self._evaluate_once(state)
        if not info.accepted.all():
            _, behind = self._evaluate_once(dataclasses.replace(state, z=state.accepted_z))
            info = jax.device_get(jax.vmap(tree_where)(jnp.asarray(info.accepted), info, behind))
        state = dataclasses.replace(
            state, accepted_z=new.accepted_z, accepted_loss=new.accepted_loss, best=new.best
        )
        return with_status(state, new.status != Status.nonfinite, Status.nonfinite), info

    def _evaluate_once(self, state: State) -> tuple[State, Info]:
        state = with_status(state, jnp.zeros((), bool), Status.running)
        state, infos = self._take(_own_copy(state), 1)
        return state, jax.tree.map(lambda x: x[:, 0], infos)

    def _record_images(self, steps: np.ndarray, running: np.ndarray) -> None:
        due = np.flatnonzero(running & (steps % self._record.every == 0))
        if not due.size:
            return
        images = self._decode(self._state.z)
        for element in due:
            self._images[element].append(images[element])
            self._image_steps[element].append(int(steps[element] - self._first_steps[element]))

    def _stopped_at_limit(self, state: State) -> State:
        """Stop elements at the limit of their last stage, if the run has no limit of steps."""
        if self._max_steps is not None:
            return state
        is_over = (state.status == Status.running) & state.memory.is_last & state.memory.at_limit
        return with_status(state, ~is_over, Status.step_limit)

    def _pace(self, count: int, seconds: float) -> None:
        # The first chunk is one step long and mostly compilation.
        if self._num_steps == 0:
            self._steps_per_chunk = 4
        else:
            wanted = _SECONDS_PER_CHUNK * count / max(seconds, 1e-6)
            self._steps_per_chunk = int(np.clip(wanted, 1, CHUNK_LENGTH))

    def _show(self, info: Info) -> dict[str, Any]:
        """Return the numbers of a step that a progress bar shows."""
        shown: dict[str, Any] = {
            "loss": info.loss,
            "learning_rate": info.learning_rate,
            "gradient_norm": info.gradient_norm,
            "pixel_change_norm": info.pixel_change_norm,
            **{name: term for name, term in info.terms.items() if term.ndim == 1},
        }
        memory = self._state.memory
        if isinstance(memory, Stage) and len(self._infos) == 1:
            index = int(self._problem.rows(memory.index)[0])
            shown["stage"] = memory.names[index]
        return shown

    def _counts(self, name: str) -> np.ndarray:
        return self._problem.rows(getattr(self._state, name))

    def _running(self) -> np.ndarray:
        return self._problem.rows(self._state.status == Status.running)

    def _decode(self, z: PyTree) -> np.ndarray:
        return self._problem.rows(decode(self._problem, z))


def _take_step(fixed: tuple[AnyProblem, AbstractSolver], state: State) -> tuple[State, Info]:
    problem, solver = fixed
    return problem.apart(lambda part, state: traced_step(part, solver, state), state)


def _take_chunk(
    fixed: tuple[AnyProblem, AbstractSolver, Array], state: State, in_turn: bool
) -> tuple[State, Info]:
    """Take steps up to a limit. The axes of the reports are element, in a batch, and step."""
    problem, solver, limit = fixed

    def take(part: AnyProblem, state: State) -> tuple[State, Info]:
        return advance_within(part, solver, state, CHUNK_LENGTH, limit)

    def take_together(part: AnyProblem, state: State) -> tuple[State, Info]:
        state, infos = take(part, state)
        return state, jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), infos)

    return problem.map_in_turn(take, state) if in_turn else problem.apart(take_together, state)


@jax.jit
def _own_copy(tree: PyTree) -> PyTree:
    """Return a copy that may be donated; arrays stay on their devices."""
    return jax.tree.map(jnp.copy, tree)


def _test_again(problem: AnyProblem, stop: AbstractStop, state: State) -> State:
    """Return the state with its status by a stop rule, which may differ from the earlier one.

    A rule with memory of another shape starts with an empty memory.
    """

    def empty(_: AnyProblem, loss: Array) -> PyTree:
        return stop.init(loss.dtype)

    fresh = eqx.filter_eval_shape(lambda p, loss: p.map(empty, loss), problem, state.accepted_loss)
    wanted, found = (
        [(path, describe(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(memory)]
        for memory in (fresh, state.stop_state)
    )
    if wanted != found:
        memory = problem.map(empty, state.accepted_loss)
        state = dataclasses.replace(state, stop_state=memory)
    return dataclasses.replace(state, status=_test(problem, stop, state.stop_state, state.memory))


@compiled()
def _test(problem: AnyProblem, stop: AbstractStop, stop_state: PyTree, memory: PyTree) -> Status:
    def one(_: AnyProblem, stop_state: PyTree, memory: PyTree) -> Status:
        stops = stop.fires(stop_state)
        if isinstance(memory, Stage):
            stops &= memory.may_stop
        return Status.where(stops, Status.plateau, Status.running)

    return problem.map(one, stop_state, memory)
