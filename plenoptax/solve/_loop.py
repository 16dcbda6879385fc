import abc
import dataclasses
import warnings
from typing import Any, final, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from .. import stop as stop_rules
from .._compiled import compiled
from .._placement import on_host
from .._precision import refuse_half
from .._rules import check_key, checked, COUNT
from .._tree import all_finite, cast_like, check_alike, leaves_by_path, norm, strong, tree_where
from .._types import Key, PyTree
from ._optimizer import AbstractOptimizer, AnyOptimizer, as_optimizer, Outcome
from ._problem import (
    AbstractConstrained,
    AbstractProblem,
    AnyProblem,
    check_problem,
    Stage,
    Status,
)
from ._trace import Info


class Best(eqx.Module):
    """The accepted point with the smallest loss so far.

    Attributes:
        z: The point; meaningless while the loss is infinite.
        loss: The objective there.
    """

    z: PyTree
    loss: Float[Array, "..."]


class State(eqx.Module):
    """Everything the next step needs. A saved state resumes exactly.

    In a batch every leaf has an extra leading axis. Those of a batch that was run in slices are
    NumPy arrays.

    Attributes:
        z: The point that is evaluated next.
        accepted_z: The last accepted point, which gives the image. After `run` it is the point of
            the last loss of the trace.
        accepted_loss: The objective there.
        optimizer_state: The state of the optimizer.
        stop_state: The state of the stop rule.
        memory: The memory of the problem.
        num_steps: The number of steps taken.
        num_evaluations: The number of evaluations of the objective in these steps.
        status: The status of the synthesis.
        best: The best point, if the solver is a `BestSoFar`; else None.
    """

    # The iterate
    z: PyTree
    accepted_z: PyTree
    accepted_loss: Float[Array | np.ndarray, "..."]
    # What moves it
    optimizer_state: PyTree
    stop_state: PyTree
    memory: PyTree
    # Counters
    num_steps: Int[Array | np.ndarray, "..."]
    num_evaluations: Int[Array | np.ndarray, "..."]
    status: Status
    best: Best | None = None


class AbstractSolver(eqx.Module):
    """A pure, stepwise minimizer of one problem."""

    optimizer: eqx.AbstractVar[AbstractOptimizer]
    stop: eqx.AbstractVar[stop_rules.AbstractStop]

    @abc.abstractmethod
    def init(self, problem: AbstractProblem, z: PyTree) -> State:
        """Return the state before the first step, from the ``z`` of an image."""

    @abc.abstractmethod
    def step(self, problem: AbstractProblem, state: State) -> tuple[State, Info]:
        """Take one step of one problem."""


@final
class Solver(AbstractSolver):
    """A method to minimize a problem: an optimizer and a stop rule.

    Attributes:
        optimizer: The optimizer of ``z``. An optax transformation is kept as a pytree, so that
            rebuilding it does not recompile. A learning rate given as an array is a leaf, and
            changing it does not recompile; a Python float is a constant, and changing it
            recompiles.
        stop: The rule; see `plenoptax.stop`.

    Example:
        >>> import optax, plenoptax as plx
        >>> solver = plx.Solver(optax.adam(0.01), stop=plx.stop.LossChange(1e-5, window=20))
    """

    optimizer: AbstractOptimizer
    stop: stop_rules.AbstractStop

    def __init__(
        self,
        optimizer: AnyOptimizer,
        stop: stop_rules.AbstractStop | None = None,
    ):
        """Build a solver.

        Args:
            optimizer: `plenoptax.lbfgs`, another `AbstractOptimizer`, or any optax transformation,
                with or without extra arguments. An optax transformation receives the keyword
                arguments ``value``, ``grad`` and ``value_fn`` at each update, and rejects no point.
                Its learning rate is reported if it is injected, scheduled or found by a line
                search. When a problem enters its next stage, its learning rates, schedules, line
                searches and the memory of L-BFGS start again, and its moments stay.
            stop: The stop rule, by default ``LossChange(1e-4, window=50)`` as in plenoptic.

        Raises:
            TypeError: If `optimizer` is not an optimizer, or `stop` is not a stop rule.
        """
        self.optimizer = as_optimizer(optimizer)
        if stop is None:
            stop = stop_rules.LossChange(1e-4, window=50)
        if not isinstance(stop, stop_rules.AbstractStop):
            raise TypeError(
                f"stop must be a rule of plenoptax.stop, got {type(stop).__name__}. Use Never() to "
                "turn it off."
            )
        self.stop = stop

    def init(self, problem: AbstractProblem, z: PyTree) -> State:
        """See `AbstractSolver.init`."""
        z = problem.project(z)
        dtype = jnp.result_type(*jax.tree.leaves(z))
        refuse_half("The variable that a solver moves", dtype)
        state = State(
            z=z,
            accepted_z=z,
            accepted_loss=jnp.full((), jnp.inf, dtype),
            optimizer_state=self.optimizer.init(z),
            stop_state=self.stop.init(dtype),
            memory=problem.start(),
            num_steps=jnp.zeros((), jnp.int32),
            num_evaluations=jnp.zeros((), jnp.int32),
            status=Status.running,
        )
        return strong(state)

    def step(self, problem: AbstractProblem, state: State) -> tuple[State, Info]:
        """See `AbstractSolver.step`."""

        def objective(z: PyTree) -> tuple[Array, dict[str, Array]]:
            return problem.objective(z, state.memory)

        (loss, terms), gradient = jax.value_and_grad(objective, has_aux=True)(state.z)
        # The norm of finite elements may still overflow their dtype.
        finite = jnp.isfinite(loss) & all_finite(gradient)
        updates, optimizer_state, outcome = self.optimizer.update(
            gradient,
            state.optimizer_state,
            state.z,
            value=jnp.where(finite, loss, jnp.nan),
            value_fn=lambda z: objective(z)[0],
        )
        optimizer_state = cast_like(optimizer_state, state.optimizer_state)
        z = problem.project(optax.apply_updates(state.z, updates))
        z = tree_where(outcome.exhausted, state.z, z)
        memory = state.memory
        stage = {"stage": memory.index} if isinstance(memory, Stage) else {}
        info = Info(
            loss=loss,
            penalty=terms["penalty"],
            gradient_norm=norm(gradient),
            pixel_change_norm=optax.tree.norm(problem.decode(z) - problem.decode(state.z)),
            learning_rate=outcome.learning_rate,
            num_evaluations=outcome.num_evaluations,
            accepted=outcome.accepted,
            terms={name: term for name, term in terms.items() if name != "penalty"} | stage,
        )
        terms = terms | {"loss": loss}
        new = self._follow(problem, state, info, terms, z, optimizer_state, outcome)
        return new, info

    def _follow(
        self,
        problem: AbstractProblem,
        state: State,
        info: Info,
        terms: dict[str, Array],
        z: PyTree,
        optimizer_state: PyTree,
        outcome: Outcome,
    ) -> State:
        """Return the state after a step that reports `info` and whose optimizer moves to `z`."""
        accepted = outcome.accepted
        stop_state = self.stop.update(state.stop_state, info)
        met = self.stop.fires(stop_state) & accepted
        memory, ends = _remember(problem, state, terms, outcome, met)
        nonfinite = outcome.exhausted & ~outcome.finite
        ended = Status.where(ends, Status.plateau, Status.running)
        new = State(
            z=z,
            accepted_z=tree_where(accepted, state.z, state.accepted_z),
            accepted_loss=jnp.where(
                accepted, info.loss.astype(state.accepted_loss.dtype), state.accepted_loss
            ),
            optimizer_state=optimizer_state,
            stop_state=tree_where(accepted, stop_state, state.stop_state),
            memory=memory,
            num_steps=state.num_steps + 1,
            num_evaluations=state.num_evaluations + outcome.num_evaluations,
            status=Status.where(nonfinite, Status.nonfinite, ended),
        )
        if not isinstance(memory, Stage):
            return new
        changed = memory.index != state.memory.index
        return tree_where(changed, self._begin_stage(new), new)

    def _begin_stage(self, state: State) -> State:
        """Return the state at the start of a stage, which has another objective than the last."""
        z, optimizer_state = self.optimizer.restart(
            state.optimizer_state, state.z, state.accepted_z
        )
        memory = dataclasses.replace(state.memory, num_steps=jnp.zeros_like(state.memory.num_steps))
        return dataclasses.replace(
            state,
            z=z,
            optimizer_state=cast_like(optimizer_state, state.optimizer_state),
            stop_state=self.stop.init(state.accepted_loss.dtype),
            memory=memory,
        )


@final
class BestSoFar(AbstractSolver):
    """A solver that also keeps the best point, for optimizers that do not end at it.

    The best point is the accepted point with the smallest loss. With stages, only the last stage
    counts; with a constraint, only points that meet it count (see `AbstractConstrained.is_met`).

    Attributes:
        solver: The solver that minimizes.

    Example:
        >>> import jax, optax, plenoptax as plx
        >>> problem = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7))
        >>> solver = plx.BestSoFar(plx.Solver(optax.sgd(0.1, momentum=0.9)))
        >>> state = plx.init(problem, solver, key=jax.random.key(0))
        >>> state, infos = plx.advance(problem, solver, state, 5)
        >>> bool(state.best.loss == infos.loss.min())
        True
    """

    solver: AbstractSolver

    def __init__(self, solver: AbstractSolver):
        """Wrap a solver."""
        self.solver = solver

    @property
    def optimizer(self) -> AbstractOptimizer:
        """Taken from the wrapped solver."""
        return self.solver.optimizer

    @property
    def stop(self) -> stop_rules.AbstractStop:
        """Taken from the wrapped solver."""
        return self.solver.stop

    def init(self, problem: AbstractProblem, z: PyTree) -> State:
        """See `AbstractSolver.init`."""
        return with_best(self.solver.init(problem, z))

    def step(self, problem: AbstractProblem, state: State) -> tuple[State, Info]:
        """See `AbstractSolver.step`."""
        best: Any = state.best
        memory = state.memory
        new, info = self.solver.step(problem, dataclasses.replace(state, best=None))
        loss = jnp.asarray(info.loss, best.loss.dtype)
        is_better = info.accepted & (loss < best.loss)
        if isinstance(memory, Stage):
            is_better &= memory.is_last
        if isinstance(problem, AbstractConstrained):
            is_better &= problem.is_met(info.terms)
        best = tree_where(is_better, Best(state.z, loss), best)
        return dataclasses.replace(new, best=best), info


def with_best(state: State) -> State:
    """Return a state without a best point."""
    nothing = jnp.full_like(state.accepted_loss, jnp.inf)
    return dataclasses.replace(state, best=Best(state.accepted_z, nothing))


AnySolver: TypeAlias = AbstractSolver | AnyOptimizer


def as_solver(solver: AnySolver) -> AbstractSolver:
    """Return a solver as it is; an optimizer alone with the default stop rule."""
    if solver is None:
        raise ValueError(
            "solver must be a solver or an optimizer, got None. Give solver= to "
            "plenoptax.io.load_result if it comes from a loaded result."
        )
    return solver if isinstance(solver, AbstractSolver) else Solver(solver)


def init(
    problem: AnyProblem,
    solver: AnySolver,
    *,
    key: Key | None = None,
    initial_image: Array | None = None,
) -> State:
    """Return the state before the first step.

    Args:
        problem: The problem to minimize, or a batch of problems.
        solver: The solver, or an optimizer alone.
        key: Draws the problem's own initial image. A batch splits it into one key per element.
        initial_image: The image to start from instead. For a batch it may have a leading axis;
            without it, every element starts from the same image.

    Raises:
        ValueError: If neither or both of `key` and `initial_image` are given, if the initial image
            is not finite, or the model does not accept it.
        TypeError: If the initial image is not an array of real numbers in float32 or float64, or
            the problem or the key has a wrong type.

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
    if key is not None:
        check_key(key)
    if (key is None) == (initial_image is None):
        given = "neither" if key is None else "both"
        raise ValueError(
            "Exactly one of key= (draws the usual initial image) and initial_image= (starts from "
            f"yours) must be given, got {given}."
        )
    if initial_image is None:
        return _init_from_key(problem, solver, key)
    images = problem.spread(_check_initial_image(initial_image))
    problem.map(_check_objective, images)
    return _init_from_image(problem, solver, images)


@compiled()
def _init_from_key(problem: AnyProblem, solver: AbstractSolver, key: Key) -> State:
    # Compiled together, because its small operations take a second to compile one by one.
    images = problem.map(lambda p, k: p.initial_image(k), problem.split(key=key))
    return _init_from_image(problem, solver, images)


@compiled()
def _init_from_image(problem: AnyProblem, solver: AbstractSolver, images: Array) -> State:
    return problem.map(lambda p, image: solver.init(p, p.encode(image)), images)


def _check_initial_image(image: Array) -> Array:
    """Raise an error if no synthesis can start from an image."""
    if not hasattr(image, "dtype"):
        raise TypeError(f"initial_image must be an array, got {type(image).__name__}.")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(
            f"initial_image must be an array of floating-point numbers, got {image.dtype}. "
            "Read image files with plenoptax.load_images."
        )
    if not isinstance(image, Tracer) and not np.isfinite(on_host(image)).all():
        raise ValueError("initial_image must be finite, got infinite or NaN values.")
    return jnp.asarray(image)


def _check_objective(problem: AbstractProblem, initial_image: Array) -> None:
    """Raise an error if the model does not accept an initial image; evaluate only shapes."""
    usual = jax.eval_shape(problem.initial_image, jax.random.key(0))
    if initial_image.dtype != usual.dtype:
        raise TypeError(
            f"initial_image must have the dtype of the target, {usual.dtype}, got "
            f"{initial_image.dtype}. Convert one of them."
        )
    if initial_image.shape != usual.shape:
        warnings.warn(
            f"The initial image has shape {initial_image.shape}, the target {usual.shape}. The "
            "result will have the shape of the initial image.",
            UserWarning,
            stacklevel=3,
        )
        try:
            jax.eval_shape(
                lambda image: problem.objective(problem.encode(image), problem.start()),
                initial_image,
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                "initial_image must have a representation that can be compared with that of the "
                f"target of shape {usual.shape}, got the shape {initial_image.shape}. {error}"
            ) from error


def step(
    problem: AnyProblem,
    solver: AnySolver,
    state: State,
) -> tuple[State, Info]:
    """Take one step of a synthesis; a pure function to compile, map or scan.

    The step evaluates the objective and its gradient at ``state.z``, and the optimizer chooses the
    next point. In a batch, elements that have stopped stay as they are (`run` continues them).

    Args:
        problem: The problem to minimize, or a batch of problems.
        solver: The solver, or an optimizer alone with the default stop rule.
        state: The state from `init` or an earlier step.

    Returns:
        The next state, and the report of this step.

    Raises:
        ValueError: If the state does not match the problem and the solver; names the leaf.

    Example:
        >>> import equinox as eqx, jax, optax, plenoptax as plx
        >>> problem = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7))
        >>> solver = plx.Solver(optax.adam(0.01))
        >>> state = plx.init(problem, solver, key=jax.random.key(0))
        >>> state, info = eqx.filter_jit(plx.step)(problem, solver, state)
        >>> int(state.num_steps)
        1
    """
    solver = as_solver(solver)
    wanted = eqx.filter_eval_shape(
        lambda b, z: b.map(lambda p, z: solver.init(p, z), z), problem, state.z
    )
    check_alike(
        leaves_by_path(state),
        {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(wanted)},
        lambda fault: (
            f"The state does not match this problem and solver: {fault}. Make one with "
            "init(problem, solver, ...)."
        ),
    )
    new, info = problem.map(lambda p, s: solver.step(p, s), state)
    return problem.hold(state.status != Status.running, state, new), info


# JAX traces it once, whichever program contains it.
traced_step = eqx.filter_jit(step)


@checked(num_steps=COUNT)
def advance(
    problem: AnyProblem,
    solver: AnySolver,
    state: State,
    num_steps: int,
) -> tuple[State, Info]:
    """Take many steps; a pure function to compile, map, scan or shard.

    This is `run` without the host: no images, no files, no Ctrl-C. On CPU, models that convolve
    over several channels are many times slower in it than in `run`.

    Args:
        problem: The problem to minimize, or a batch of problems.
        solver: The solver, or an optimizer alone with the default stop rule.
        state: The state from `init`, `run` or an earlier call. A state that `run` left at its step
            limit, or at Ctrl-C, continues; a state that has stopped for another reason stays as it
            is.
        num_steps: The number of steps to take, at least 1; fewer if all elements stop earlier.

    Returns:
        The state, and the reports of the steps as arrays with `num_steps` rows. The first
        ``new.num_steps - state.num_steps`` rows are steps taken; the others are 0.

    Raises:
        ValueError: If the state does not match the problem and the solver; names the leaf.

    Example:
        >>> import equinox as eqx, jax, optax, plenoptax as plx
        >>> problem = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7))
        >>> solver = plx.Solver(optax.adam(0.01))
        >>> state = plx.init(problem, solver, key=jax.random.key(0))
        >>> state, infos = eqx.filter_jit(plx.advance)(problem, solver, state, 10)
        >>> infos.loss.shape
        (10,)
    """
    solver, status = as_solver(solver), state.status
    is_over = (status != Status.step_limit) & (status != Status.interrupted)
    state = with_status(state, is_over, Status.running)
    return advance_within(problem, solver, state, num_steps, jnp.asarray(num_steps, jnp.int32))


def advance_within(
    problem: AnyProblem, solver: AbstractSolver, state: State, num_rows: int, limit: Array
) -> tuple[State, Info]:
    """Advance with a limit that is an array, at most the number of rows."""

    def take_step(state: State) -> tuple[State, Info]:
        return traced_step(problem, solver, state)

    def unfinished(loop: tuple[State, Info, Array]) -> Array:
        state, _, count = loop
        return (count < limit) & jnp.any(state.status == Status.running)

    def body(loop: tuple[State, Info, Array]) -> tuple[State, Info, Array]:
        state, infos, count = loop
        state, info = take_step(state)
        infos = jax.tree.map(lambda whole, row: whole.at[count].set(row), infos, info)
        return state, infos, count + 1

    shapes = jax.eval_shape(take_step, state)[1]
    blank = jax.tree.map(lambda x: jnp.zeros((num_rows, *x.shape), x.dtype), shapes)
    state, infos, _ = jax.lax.while_loop(unfinished, body, (state, blank, jnp.zeros((), jnp.int32)))
    return state, infos


@compiled()
def decode(problem: AnyProblem, z: PyTree) -> Array:
    """Return the image of ``z``, or one image for each element."""
    return problem.map(lambda p, z: p.decode(z), z)


def with_status(state: State, is_kept: Bool[Array, "..."], status: Status) -> State:
    """Return the state with another status where its own is not kept."""
    chosen = jax.tree.map(lambda old, new: jnp.where(is_kept, old, new), state.status, status)
    return dataclasses.replace(state, status=chosen)


def _remember(
    problem: AbstractProblem,
    state: State,
    terms: dict[str, Array],
    outcome: Outcome,
    met: Bool[Array, ""],
) -> tuple[PyTree, Bool[Array, ""]]:
    """Return the memory after a step, and whether the synthesis ends with it.

    Args:
        problem: The problem.
        state: The state before the step.
        terms: The terms for `AbstractProblem.advance`.
        outcome: The outcome of the optimizer's update.
        met: Whether the stop rule fires.
    """
    memory = state.memory
    if not isinstance(memory, Stage):
        advanced = problem.advance(memory, state.z, terms)
        return tree_where(outcome.accepted, advanced, memory), outcome.exhausted | met
    memory = dataclasses.replace(memory, num_steps=memory.num_steps + 1)
    # A line search that finds nothing better ends its stage, not the run.
    goes_on = outcome.finite & ~memory.is_last
    # A stage may end at a rejected trial; the next stage then starts from its anchor.
    is_over = memory.at_limit & ~memory.is_last & ~(outcome.exhausted & ~outcome.finite)
    advanced = problem.advance(memory, state.z, terms)
    advanced = dataclasses.replace(advanced, num_steps=memory.num_steps)
    changes = outcome.accepted | (outcome.exhausted & goes_on) | is_over
    ends = (outcome.exhausted | (met & advanced.may_stop)) & ~goes_on
    return tree_where(changes, advanced, memory), ends
