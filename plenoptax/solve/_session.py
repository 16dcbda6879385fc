import dataclasses
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._tree import describe
from .._types import PyTree
from ..stop import AbstractStop
from ._batch import Batched
from ._driver import Advancer, any_running, Best, Carry, CHUNK_LENGTH, Driver, own_copy
from ._history import History
from ._problem import AbstractProblem
from ._progress import Interrupt
from ._provenance import describe_run
from ._record import Record
from ._solver import Solver
from ._stage import Stage
from ._state import Info, State
from ._status import Status
from ._trace import BatchedTrace, Trace


# The host takes control about this often, for the bar, Ctrl-C, images and checkpoints.
_SECONDS_PER_CHUNK = 0.5

# A batch drops its finished elements at multiples of this many steps, and only there: where a run
# is cut in two must not change which elements are computed together.
_RETIREMENT_PERIOD = 64


class Session:
    """One call of `run`: the elements under way, those that have been retired, and their history.

    A problem that is no batch is one element.
    """

    def __init__(
        self,
        problem: AbstractProblem | Batched,
        solver: Solver,
        state: State,
        max_steps: int | None,
        record: Record,
        driver: Driver,
        provenance: dict[str, Any],
    ):
        self._provenance = provenance
        self._started = time.perf_counter()
        self._problem, self._solver, self._record = problem, solver, record
        self._max_steps = max_steps
        self._is_batch = isinstance(problem, Batched)
        state = _tested_anew(problem, solver, _with_stop_rule(problem, solver, state))
        state = own_copy(self._stopped_at_limit(state))
        best = None
        if record.best:
            nothing = jnp.full_like(state.accepted_loss, jnp.inf)
            best = Best(own_copy(state.accepted_z), nothing)
        self._whole = Carry(state, best)
        self._advancer = Advancer(problem, solver, self._whole, driver)
        self._whole_advancer = self._advancer
        self._active = np.arange(_rows(state.num_steps).size)
        self._carry = self._whole
        self._first_steps = _rows(state.num_steps)
        self._first_evaluations = _rows(state.num_evaluations)
        self._steps_per_chunk = 1
        self._num_steps = 0
        self.history = History(self._active.size)
        self._retire()

    def can_go_on(self) -> bool:
        """Whether there are steps left, and an element to take them."""
        has_steps = self._max_steps is None or self._num_steps < self._max_steps
        return has_steps and any_running(self._carry.state)

    def advance(self, interrupt: Interrupt) -> int:
        """Take steps for about half a second, or up to where the host has something to do.

        Returns:
            The number of steps taken, by the element that took most.
        """
        steps = _rows(self._carry.state.num_steps)
        running = _rows(self._carry.state.status == Status.running)
        limit = self._steps_per_chunk
        if self._max_steps is None:
            limit = min(limit, *_steps_to_limit(self._carry.state.memory)[running])
        else:
            limit = min(limit, self._max_steps - self._num_steps)
        if self._record.every:
            self._record_images(steps, running)
            limit = min(limit, *_steps_to_next(steps[running], self._record.every))
        if self._is_batch:
            limit = min(limit, *_steps_to_next(steps[running], _RETIREMENT_PERIOD))
        started = time.perf_counter()
        self._carry, infos, count = self._advancer.advance(self._carry, int(limit), interrupt)
        if infos is None:
            return 0
        self._pace(count, time.perf_counter() - started)
        counts = _rows(self._carry.state.num_steps) - steps
        self.history.append(infos if self._is_batch else _with_axis(infos), self._active, counts)
        self._num_steps += count
        self._carry = self._carry._replace(state=self._stopped_at_limit(self._carry.state))
        self._retire()
        return count

    def newest(self) -> dict[str, Any]:
        """What a progress bar shows of the newest step."""
        newest, memory = self.history.newest(), self._carry.state.memory
        if isinstance(memory, Stage) and not self._is_batch:
            newest = newest | {"scale": memory.names[int(memory.index)]}
        return newest

    def finish(self, status: Status) -> tuple[State, Trace | BatchedTrace]:
        """The state and the trace of the run up to here; the session can go on after it.

        Args:
            status: That of the elements that have not stopped by themselves.
        """
        whole = self._gather()
        state, last = self._whole_advancer.evaluate(whole.state)
        state = _where(state.status == Status.running, state, status)
        rows = last if self._is_batch else _with_axis(last, 0)
        images = self._whole_advancer.decode(state.accepted_z)
        best = self._best(whole.best, state)
        shape = images.shape[1:] if self._is_batch else images.shape
        evaluations = _rows(state.num_evaluations) - self._first_evaluations
        provenance = describe_run(self._problem, self._solver, self._advancer.driver, self._started)
        provenance |= self._provenance
        traces = []
        for element in range(evaluations.size):
            trace = self.history.trace(
                element,
                jax.tree.map(lambda x, e=element: x[e], rows),
                image_shape=shape,
                best=None if best is None else (best[0][element], float(best[1][element])),
                provenance=provenance | {"num_evaluations": int(evaluations[element])},
            )
            traces.append(trace)
        return state, BatchedTrace(tuple(traces)) if self._is_batch else traces[0]

    def _stopped_at_limit(self, state: State) -> State:
        """Where no total is given, the limit of a stage is that of the run in the last stage."""
        if self._max_steps is not None:
            return state
        running = (state.status == Status.running) & state.memory.is_last & state.memory.at_limit
        return _where(running, state, Status.step_limit)

    def _pace(self, count: int, seconds: float) -> None:
        # The first chunk is one step long and mostly compilation.
        if self._num_steps == 0:
            self._steps_per_chunk = 4
        else:
            wanted = _SECONDS_PER_CHUNK * count / max(seconds, 1e-6)
            self._steps_per_chunk = int(np.clip(wanted, 1, CHUNK_LENGTH))

    def _record_images(self, steps: np.ndarray, running: np.ndarray) -> None:
        due = running & (steps % self._record.every == 0)
        if not due.any():
            return
        images = self._advancer.decode(self._carry.state.z)
        images = images if self._is_batch else images[None]
        for column in np.flatnonzero(due):
            element = int(self._active[column])
            step = int(steps[column] - self._first_steps[element])
            self.history.append_image(element, images[column], step)

    def _best(self, best: Best | None, state: State) -> tuple[np.ndarray, np.ndarray] | None:
        if best is None:
            return None
        losses, last = _rows(best.loss), _rows(state.accepted_loss)
        images = self._whole_advancer.decode(best.z)
        last_images = self._whole_advancer.decode(state.accepted_z)
        if not self._is_batch:
            images, last_images = images[None], last_images[None]
        last_is_better = (last < losses).reshape(-1, *(1,) * (images.ndim - 1))
        return np.where(last_is_better, last_images, images), np.minimum(losses, last)

    def _gather(self) -> Carry:
        """All elements, in their order."""
        if self._active.size == self._first_steps.size:
            return self._carry
        return jax.tree.map(
            lambda whole, part: whole.at[self._active].set(part), self._whole, self._carry
        )

    def _retire(self) -> None:
        """Go on with fewer elements, where half of a batch or more have stopped."""
        taken = int(_rows(self._carry.state.num_steps).max())
        if not self._is_batch or (self._num_steps and taken % _RETIREMENT_PERIOD):
            return
        whole = self._gather()
        running = _rows(whole.state.status == Status.running)
        steps = _rows(whole.state.num_steps)
        active = _surviving(np.where(running, np.inf, steps), int(steps.max()))
        if active.size == self._active.size:
            return
        self._whole, self._active = whole, active
        self._carry = own_copy(jax.tree.map(lambda x: jnp.take(x, active, axis=0), whole))
        self._advancer = Advancer(
            self._problem.take(active),  # pyright: ignore[reportAttributeAccessIssue]
            self._solver,
            self._carry,
            self._advancer.driver,
        )


def _surviving(finished_at: np.ndarray, step: int) -> np.ndarray:
    """The elements of a batch that are still computed at a step.

    A function of when each element stopped alone, so that a resumed run computes the same elements
    together as an uninterrupted one.
    """
    active = np.arange(finished_at.size)
    for boundary in range(_RETIREMENT_PERIOD, step + 1, _RETIREMENT_PERIOD):
        alive = active[finished_at[active] > boundary]
        if 0 < alive.size <= active.size // 2:
            active = alive
    return active


def _with_stop_rule(problem: AbstractProblem | Batched, solver: Solver, state: State) -> State:
    """The state with an empty memory for a stop rule of another shape than the one it had."""

    def empty(loss: jax.Array) -> PyTree:
        return solver.stop.init(loss.dtype)

    if isinstance(problem, Batched):
        empty = jax.vmap(empty)
    fresh = jax.eval_shape(empty, state.accepted_loss)
    wanted, found = (
        [(path, describe(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(memory)]
        for memory in (fresh, state.stop_state)
    )
    if wanted == found:
        return state
    return dataclasses.replace(state, stop_state=empty(state.accepted_loss))


def _tested_anew(problem: AbstractProblem | Batched, solver: Solver, state: State) -> State:
    size = len(problem) if isinstance(problem, Batched) else None
    status = _test(solver.stop, state.stop_state, state.memory, size)
    return dataclasses.replace(state, status=status)


@eqx.filter_jit
def _test(stop: AbstractStop, stop_state: PyTree, memory: PyTree, size: int | None) -> Status:
    def one(stop_state: PyTree, memory: PyTree) -> Status:
        stops = stop.fires(stop_state)
        if isinstance(memory, Stage):
            stops &= memory.may_stop
        return Status.where(stops, Status.plateau, Status.running)

    if size is None:
        return one(stop_state, memory)
    return jax.vmap(one, axis_size=size)(stop_state, memory)


def _where(condition: jax.Array, state: State, status: Status) -> State:
    """The state with another status where the condition holds."""
    chosen = jax.tree.map(lambda new, old: jnp.where(condition, new, old), status, state.status)
    return dataclasses.replace(state, status=chosen)


def _rows(values: PyTree) -> np.ndarray:
    """One entry for each element, also where there is only one."""
    return np.atleast_1d(np.asarray(values))


def _with_axis(info: Info, axis: int = 1) -> Info:
    return jax.tree.map(lambda x: np.expand_dims(x, axis), info)


def _steps_to_limit(memory: Stage) -> np.ndarray:
    """Steps that no last stage ends within, by its limit: at most that many after its first."""
    taken = np.where(memory.is_last, memory.num_steps, 0)
    return _rows(np.asarray(memory.max_steps) - taken)


def _steps_to_next(steps: np.ndarray, period: int) -> Any:
    return period - steps % period
