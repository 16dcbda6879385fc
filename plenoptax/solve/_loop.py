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
from .._precision import refuse_half
from .._rules import checked, COUNT
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


class Best(eqx.Module):
    """The accepted point of the smallest loss so far.

    Attributes:
        z: The point; meaningless while the loss is infinite.
        loss: The objective there.
    """

    z: PyTree
    loss: Float[Array, "..."]


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
        best: The best point, if the solver is a `BestSoFar`; else None.
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
    best: Best | None = None


class Info(eqx.Module):
    """What a human wants to see of one step, or of many in a `Trace`, stacked by NumPy.

    Attributes:
        loss: The whole objective at the point that the step evaluated.
        penalty: The penalty there, before its weight.
        gradient_norm: The norm of the gradient with respect to ``z``.
        pixel_change_norm: How far the step moved the image, in units of pixel values.
        learning_rate: The optimizer's, where it is known (see `Solver`); else not a number.
        num_evaluations: Evaluations of the objective: 1, and those of a line search inside.
        accepted: Whether the point was accepted; always, where the optimizer has no trials and the
            point is finite.
        terms: What else the problem reports, and the index of the ``"stage"`` if it has stages.
    """

    loss: Float[Array | np.ndarray, "..."]
    penalty: Float[Array | np.ndarray, "..."]
    gradient_norm: Float[Array | np.ndarray, "..."]
    pixel_change_norm: Float[Array | np.ndarray, "..."]
    learning_rate: Float[Array | np.ndarray, "..."]
    num_evaluations: Int[Array | np.ndarray, "..."]
    accepted: Bool[Array | np.ndarray, "..."]
    terms: dict[str, Any]


class AbstractSolver(eqx.Module):
    """How one problem is minimized, step by step; pure."""

    optimizer: eqx.AbstractVar[AbstractOptimizer]
    stop: eqx.AbstractVar[stop_rules.AbstractStop]

    @abc.abstractmethod
    def init(self, problem: AbstractProblem, z: PyTree) -> State:
        """The state before the first step, from the ``z`` of an image."""

    @abc.abstractmethod
    def step(self, problem: AbstractProblem, state: State) -> tuple[State, Info]:
        """One step of one problem."""


@final
class Solver(AbstractSolver):
    """How a problem is minimized: an optimizer and a rule for stopping.

    Attributes:
        optimizer: What moves ``z``. A transformation of optax is kept as a pytree, so that
            rebuilding the same one does not recompile. A learning rate given as an array is a leaf
            and can be swept without recompiling; a Python float is a constant, and another one
            compiles once more.
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
                with or without extra arguments. The latter is given the keyword arguments
                ``value``, ``grad`` and ``value_fn`` at each update, and rejects no point. Its
                learning rate is reported if it is injected, scheduled or found by a line search.
                When a problem goes to its next stage, its rates, schedules, line searches and the
                memory of L-BFGS begin again, and its moments stay.
            stop: When to stop, by default ``LossChange(1e-4, window=50)`` as plenoptic does.

        Raises:
            TypeError: If `optimizer` is no optimizer or `stop` not a rule.
        """
        self.optimizer = as_optimizer(optimizer)
        if stop is None:
            stop = stop_rules.LossChange(1e-4, window=50)
        if not isinstance(stop, stop_rules.AbstractStop):
            raise TypeError(
                "The stop rule comes from plenoptax.stop (Never() turns it off); got "
                f"{type(stop).__name__}."
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
        # The norm of finite elements may still be too large for their dtype.
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
        """The state after a step that reports `info` and whose optimizer goes on to `z`."""
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
        """The state at the start of a stage, whose objective is another than that of the last."""
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
    """A solver that also keeps the best point, for optimizers that do not end at theirs.

    The best point is the accepted one of the smallest loss. Where there are stages, only the last
    one's objective counts; where there is a constraint, only points that meet it count (see
    `AbstractConstrained.is_met`).

    Attributes:
        solver: What minimizes.

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
        """That of the solver inside."""
        return self.solver.optimizer

    @property
    def stop(self) -> stop_rules.AbstractStop:
        """That of the solver inside."""
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
    """A state of which no point is the best one yet."""
    nothing = jnp.full_like(state.accepted_loss, jnp.inf)
    return dataclasses.replace(state, best=Best(state.accepted_z, nothing))


AnySolver: TypeAlias = AbstractSolver | AnyOptimizer


def as_solver(solver: AnySolver) -> AbstractSolver:
    """A solver as it is; a bare optimizer with the default stop rule."""
    if solver is None:
        raise ValueError(
            "A solver is wanted, and None was given. A result that was loaded from a file has one "
            "if plenoptax.io.load_result was given solver=."
        )
    return solver if isinstance(solver, AbstractSolver) else Solver(solver)


def init(
    problem: AnyProblem,
    solver: AnySolver,
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
    if initial_image is None:
        return _init_from_key(problem, solver, key)
    images = problem.spread(_check_initial_image(initial_image))
    problem.map(_check_objective, images)
    return _init_from_image(problem, solver, images)


@compiled()
def _init_from_key(problem: AnyProblem, solver: AbstractSolver, key: Key) -> State:
    # Compiled as a whole: one by one, its little operations take a second to compile.
    images = problem.map(lambda p, k: p.initial_image(k), problem.split(key=key))
    return _init_from_image(problem, solver, images)


@compiled()
def _init_from_image(problem: AnyProblem, solver: AbstractSolver, images: Array) -> State:
    return problem.map(lambda p, image: solver.init(p, p.encode(image)), images)


def _check_initial_image(image: Array) -> Array:
    """Refuse what no synthesis can start from."""
    if not hasattr(image, "dtype"):
        raise TypeError(f"The initial image is an array; got {type(image).__name__}.")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(
            f"The initial image is an array of floating-point numbers; got {image.dtype}. "
            "plenoptax.load_images reads image files as such."
        )
    if not isinstance(image, Tracer) and not np.isfinite(np.asarray(image)).all():
        raise ValueError("The initial image has values that are infinite or not a number.")
    return jnp.asarray(image)


def _check_objective(problem: AbstractProblem, initial_image: Array) -> None:
    """Refuse an initial image that the model does not take; evaluates nothing but shapes."""
    usual = jax.eval_shape(problem.initial_image, jax.random.key(0))
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
            jax.eval_shape(
                lambda image: problem.objective(problem.encode(image), problem.start()),
                initial_image,
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The model's representation of an initial image of shape {initial_image.shape} "
                f"cannot be compared with that of the target of shape {usual.shape}: {error}"
            ) from error


def step(
    problem: AnyProblem,
    solver: AnySolver,
    state: State,
) -> tuple[State, Info]:
    """One step of a synthesis; pure, and yours to compile, map or scan.

    The objective and its gradient are evaluated at ``state.z``, and the optimizer says where to
    evaluate next. In a batch, elements that have stopped stay as they are (`run` lets them go on).

    Args:
        problem: What is minimized, or a batch of it.
        solver: How, or a bare optimizer with the default stop rule.
        state: What `init` or an earlier step returned.

    Returns:
        The next state, and what there is to see of this step.

    Raises:
        ValueError: If the state does not belong to the problem and the solver; names the leaf.

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
            f"The state does not belong to this problem and solver: {fault}. Make one with "
            "init(problem, solver, ...)."
        ),
    )
    new, info = problem.map(lambda p, s: solver.step(p, s), state)
    return problem.hold(state.status != Status.running, state, new), info


# Written down once, whichever program contains it.
traced_step = eqx.filter_jit(step)


@checked(num_steps=COUNT)
def advance(
    problem: AnyProblem,
    solver: AnySolver,
    state: State,
    num_steps: int,
) -> tuple[State, Info]:
    """Take many steps; pure, and yours to compile, map, scan or shard.

    As `run`, without the host: no images, no files, no Ctrl-C. On CPU, models with convolutions
    over several channels are many times slower in it than in `run`.

    Args:
        problem: See `step`.
        solver: See `step`.
        state: What `init`, `run` or an earlier call returned. A state that `run` left because of
            its limit, or of Ctrl-C, goes on; one that has stopped by itself stays as it is.
        num_steps: How many steps to take, or fewer if nothing is running any more; at least 1.

    Returns:
        The state, and the reports of the steps as arrays with `num_steps` rows. Of these,
        ``new.num_steps - state.num_steps`` were taken, and the rest are 0.

    Raises:
        ValueError: If the state does not belong to the problem and the solver; names the leaf.

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
    """As `advance`, with a limit that is an array, of at most as many steps as there are rows."""

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
    """The image of a ``z``, or one for each element."""
    return problem.map(lambda p, z: p.decode(z), z)


def with_status(state: State, is_kept: Bool[Array, "..."], status: Status) -> State:
    """The state with another status where its own is not kept."""
    chosen = jax.tree.map(lambda old, new: jnp.where(is_kept, old, new), state.status, status)
    return dataclasses.replace(state, status=chosen)


def _remember(
    problem: AbstractProblem,
    state: State,
    terms: dict[str, Array],
    outcome: Outcome,
    met: Bool[Array, ""],
) -> tuple[PyTree, Bool[Array, ""]]:
    """The memory after a step, and whether the synthesis ends with it.

    Args:
        problem: The problem.
        state: The state before the step.
        terms: For `AbstractProblem.advance`.
        outcome: What the optimizer said.
        met: Whether the stop rule fires.
    """
    memory = state.memory
    if not isinstance(memory, Stage):
        advanced = problem.advance(memory, state.z, terms)
        return tree_where(outcome.accepted, advanced, memory), outcome.exhausted | met
    memory = dataclasses.replace(memory, num_steps=memory.num_steps + 1)
    # A line search that finds nothing better has come to the end of its stage, not of the run.
    goes_on = outcome.finite & ~memory.is_last
    # A stage may be over at a rejected trial, from whose anchor the next then starts.
    is_over = memory.at_limit & ~memory.is_last & ~(outcome.exhausted & ~outcome.finite)
    advanced = problem.advance(memory, state.z, terms)
    advanced = dataclasses.replace(advanced, num_steps=memory.num_steps)
    changes = outcome.accepted | (outcome.exhausted & goes_on) | is_over
    ends = (outcome.exhausted | (met & advanced.may_stop)) & ~goes_on
    return tree_where(changes, advanced, memory), ends
