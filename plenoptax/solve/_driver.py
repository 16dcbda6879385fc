import dataclasses
import functools as ft
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Literal, NamedTuple

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._compiled import compiler_options, Options
from .._tree import is_array, tree_where
from .._types import PyTree
from ._batch import Batched
from ._problem import AbstractProblem
from ._progress import Interrupt
from ._solver import Solver
from ._state import Info, State
from ._status import Status
from ._step import evaluate_last, step


Driver = Literal["auto", "host", "chunk"]

# Long enough that the host's part is lost in the noise (measured: 10 to 200 make no difference),
# short enough that the history of a chunk is a few kilobytes.
CHUNK_LENGTH = 128

# Equations of a step that takes seconds to compile: textures have 2000 and more, front ends 600.
_LONG_STEP = 1000


class Best(NamedTuple):
    """The accepted point of the smallest loss so far."""

    z: PyTree
    loss: Array


class Carry(NamedTuple):
    """What goes from step to step inside a driver."""

    state: State
    best: Best | None


class Loops(NamedTuple):
    """The two ways to take steps, compiled. They take the arrays first, then the carry."""

    step: PyTree
    chunk: PyTree


class Programs(NamedTuple):
    """The compiled functions of one problem and solver, up to the values of their arrays.

    Attributes:
        trace: One step, of the arrays and the carry.
        loops: Makes the loops around it from what XLA is told, see `compiler_options`.
        decode: The image, of the arrays and a ``z``.
    """

    trace: PyTree
    loops: Callable[[Options], Loops]
    decode: PyTree


@ft.lru_cache(maxsize=64)
def compile_programs(static: Hashable) -> Programs:
    """One set of programs for all images, limits and tolerances: all that is an array."""

    def combine(dynamic: PyTree) -> tuple[AbstractProblem | Batched, Solver]:
        return eqxi.hashable_combine(dynamic, static)

    @jax.jit
    def traced(dynamic: PyTree, carry: Carry) -> tuple[Carry, Info]:
        return _take_step(*combine(dynamic), carry)

    def chunk(
        dynamic: PyTree, carry: Carry, limit: Array, group_size: int | None
    ) -> tuple[Carry, Info, Array]:
        problem, solver = combine(dynamic)
        if group_size is None:
            return _take_steps(lambda c: traced(dynamic, c), carry, limit)
        carry, infos, counts = problem.map_groups(  # pyright: ignore[reportAttributeAccessIssue]
            group_size,
            lambda p, c: _take_steps(lambda c: _take_step(p, solver, c), c, limit),
            carry,
        )
        carry = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), carry)
        infos = jax.tree.map(
            lambda x: jnp.moveaxis(x, 1, 0).reshape(x.shape[1], -1, *x.shape[3:]), infos
        )
        return carry, infos, jnp.max(counts)

    def decode(dynamic: PyTree, z: PyTree) -> Array:
        problem, _ = combine(dynamic)
        if isinstance(problem, Batched):
            return problem.map(lambda p, z: p.decode(z), z)
        return problem.decode(z)

    @ft.cache
    def loops(options: Options) -> Loops:
        # The carry is donated: it is the driver's own copy, never the caller's state.
        compiled = ft.partial(jax.jit, donate_argnums=1, compiler_options=dict(options) or None)
        return Loops(
            step=compiled(lambda dynamic, carry: traced(dynamic, carry)),
            chunk=compiled(chunk, static_argnames="group_size"),
        )

    return Programs(traced, loops, jax.jit(decode))


def _take_step(
    problem: AbstractProblem | Batched, solver: Solver, carry: Carry
) -> tuple[Carry, Info]:
    state, info = step(problem, solver, carry.state)
    return Carry(state, _update_best(problem, carry, info)), info


def _take_steps(
    take_step: Callable[[Carry], tuple[Carry, Info]], carry: Carry, limit: Array
) -> tuple[Carry, Info, Array]:
    """Steps until the limit or until nothing is running, their reports, and how many they are."""
    shapes = jax.eval_shape(take_step, carry)[1]
    blank = jax.tree.map(lambda x: jnp.zeros((CHUNK_LENGTH, *x.shape), x.dtype), shapes)

    def unfinished(loop: tuple[Carry, Info, Array]) -> Array:
        carry, _, count = loop
        return (count < limit) & jnp.any(carry.state.status == Status.running)

    def body(loop: tuple[Carry, Info, Array]) -> tuple[Carry, Info, Array]:
        carry, infos, count = loop
        carry, info = take_step(carry)
        infos = jax.tree.map(lambda whole, row: whole.at[count].set(row), infos, info)
        return carry, infos, count + 1

    return jax.lax.while_loop(unfinished, body, (carry, blank, jnp.zeros((), jnp.int32)))


def _update_best(problem: AbstractProblem | Batched, carry: Carry, info: Info) -> Best | None:
    if carry.best is None:
        return None

    def one(best: Best, state: State, info: Info) -> Best:
        running = state.status == Status.running
        better = info.accepted & running & (info.loss.astype(best.loss.dtype) < best.loss)
        return tree_where(better, Best(state.z, info.loss.astype(best.loss.dtype)), best)

    if isinstance(problem, Batched):
        return jax.vmap(one)(carry.best, carry.state, info)
    return one(carry.best, carry.state, info)


class Advancer:
    """Takes steps with one problem and solver, whichever driver does it.

    Attributes:
        driver: ``"host"``, a Python loop over the compiled step, or ``"chunk"``, a compiled loop.
    """

    def __init__(
        self,
        problem: AbstractProblem | Batched,
        solver: Solver,
        carry: Carry,
        driver: Driver,
    ):
        """Hash once and choose the driver.

        On CPU, XLA runs multi-channel convolutions inside compiled loops up to 50 times slower
        than outside (JAX issue 12868), so ``"auto"`` looks for one in the step. Where there is
        none, one CPU takes the elements of a batch in pairs, all steps of a chunk for one pair
        after another: the arrays of a pair stay in its cache. Beside single runs, pairs of front
        ends took 0.8 of the time an image, all sixteen at once 1.7; of Portilla-Simoncelli, 1.1
        and 2.
        """
        self._problem = problem
        self._dynamic, static = eqxi.hashable_partition((problem, solver), is_array)
        self._programs = compile_programs(static)
        self._group_size = None
        devices = _devices(carry)
        on_cpu = all(device.platform == "cpu" for device in devices)
        is_batch = isinstance(problem, Batched)
        traced = self._programs.trace.trace(self._dynamic, carry).jaxpr
        # Of one element, so that it is rounded as if it were alone.
        size = sum(leaf.size for leaf in jax.tree.leaves(carry.state.z))
        size //= len(problem) if is_batch else 1
        is_long = sum(1 for _ in _equations(traced)) > _LONG_STEP
        self._loops = self._programs.loops(compiler_options(size, is_long=is_long))
        loops_are_slow = on_cpu and any(map(_is_multichannel_convolution, _equations(traced)))
        if is_batch and on_cpu and len(devices) == 1 and not loops_are_slow:
            self._group_size = 1 if len(problem) % 2 else 2
        if driver == "auto":
            driver = "host" if loops_are_slow else "chunk"
        if driver not in ("host", "chunk"):
            raise ValueError(f"The driver is 'auto', 'host' or 'chunk'; got {driver!r}.")
        self.driver: Driver = driver

    def advance(
        self, carry: Carry, limit: int, interrupt: Interrupt
    ) -> tuple[Carry, Info | None, int]:
        """Take at most `limit` steps; the carry is consumed.

        Returns:
            The new carry, the steps' reports stacked along a first axis (None if there were no
            steps), and how many steps.
        """
        if self.driver == "chunk":
            limit = min(limit, CHUNK_LENGTH)
            carry, infos, count = self._loops.chunk(
                self._dynamic, carry, jnp.asarray(limit, jnp.int32), self._group_size
            )
            count = int(count)
            return (
                carry,
                jax.tree.map(lambda x: np.asarray(x[:count]), jax.device_get(infos)),
                count,
            )
        infos = []
        while len(infos) < limit and not interrupt.is_set() and any_running(carry.state):
            carry, info = self._loops.step(self._dynamic, carry)
            infos.append(info)
        if not infos:
            return carry, None, 0
        infos = jax.device_get(infos)
        return carry, jax.tree.map(lambda *rows: np.stack(rows), *infos), len(infos)

    def evaluate(self, state: State) -> tuple[State, Info]:
        """The state with the loss of the image that it returns, by the same compiled step.

        If the point to be evaluated is a trial that is rejected, the report is that of the accepted
        point behind it.
        """
        state, info = self._evaluate_once(state)
        accepted = np.asarray(info.accepted)
        if not accepted.all():
            _, info_behind = self._evaluate_once(dataclasses.replace(state, z=state.accepted_z))
            info = jax.tree.map(lambda a, b: _choose(accepted, a, b), info, info_behind)
        return state, info

    def _evaluate_once(self, state: State) -> tuple[State, Info]:
        carry = Carry(own_copy(with_status(state, Status.running)), None)
        if self.driver == "chunk":
            new, infos, _ = self._loops.chunk(
                self._dynamic, carry, jnp.ones((), jnp.int32), self._group_size
            )
            info = jax.tree.map(lambda x: np.asarray(x[0]), jax.device_get(infos))
        else:
            new, info = self._loops.step(self._dynamic, carry)
            info = jax.device_get(info)
        return evaluate_last(self._problem, new.state, info, state)

    def decode(self, z: PyTree) -> np.ndarray:
        """The image of a ``z``, on the host."""
        return np.asarray(self._programs.decode(self._dynamic, z))


def any_running(state: State) -> bool:
    """Whether there is anything left to do."""
    return bool(np.any(np.asarray(state.status == Status.running)))


@jax.jit
def own_copy(tree: PyTree) -> PyTree:
    """A copy that may be donated; arrays stay on their devices."""
    return jax.tree.map(jnp.copy, tree)


def with_status(state: State, status: Status) -> State:
    """The state with another status, for every element of a batch."""
    value = jax.tree.map(lambda old, new: jnp.full_like(old, new), state.status, status)
    return dataclasses.replace(state, status=value)


def _choose(condition: np.ndarray, if_true: np.ndarray, if_false: np.ndarray) -> np.ndarray:
    condition = condition.reshape(condition.shape + (1,) * (np.ndim(if_true) - condition.ndim))
    return np.where(condition, if_true, if_false)


def _devices(tree: PyTree) -> set:
    return {device for leaf in jax.tree.leaves(tree) for device in leaf.devices()}


def _equations(jaxpr: PyTree) -> Iterator[Any]:
    """The equations of a traced function and of all functions inside of it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(inner):
                yield from _equations(inner)


def _is_multichannel_convolution(equation: Any) -> bool:
    if equation.primitive.name != "conv_general_dilated":
        return False
    dimensions = equation.params["dimension_numbers"]
    kernel = equation.invars[1].aval.shape
    return max(kernel[dimensions.rhs_spec[0]], kernel[dimensions.rhs_spec[1]]) > 1


def _is_jaxpr(node: PyTree) -> bool:
    return hasattr(node, "eqns")
