import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from .._tree import check_alike, is_array, leaves_by_path, norm, tree_where
from .._types import PyTree
from ._batch import Batched
from ._problem import AbstractProblem
from ._solver import as_solver, Solver
from ._stage import restart_optimizer, Stage
from ._state import Info, init_from_z, State
from ._status import Status


def step(
    problem: AbstractProblem | Batched,
    solver: Solver | optax.GradientTransformation,
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
    _check_fits(problem, solver, state)
    if isinstance(problem, Batched):
        return problem.map(lambda p, s: _step_while_running(p, solver, s), state)
    return _step(problem, solver, state)


def _step_while_running(
    problem: AbstractProblem, solver: Solver, state: State
) -> tuple[State, Info]:
    new, info = _step(problem, solver, state)
    return tree_where(state.status == Status.running, new, state), info


def _step(problem: AbstractProblem, solver: Solver, state: State) -> tuple[State, Info]:
    def objective(z: PyTree) -> tuple[Array, dict[str, Array]]:
        return problem.objective(z, state.memory)

    (loss, terms), gradient = jax.value_and_grad(objective, has_aux=True)(state.z)
    # The norm of finite elements may still be too large for their dtype.
    finite = jnp.isfinite(loss) & _all_finite(gradient)
    # optax mixes integers and floating-point numbers, which strict promotion would refuse.
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer_state = solver.optimizer.update(
            gradient,
            state.optimizer_state,
            state.z,
            value=jnp.where(finite, loss, jnp.nan),
            grad=gradient,
            value_fn=lambda z: objective(z)[0],
        )
    z = problem.project(optax.apply_updates(state.z, updates))
    optimizer_state = _keep_dtypes(optimizer_state, state.optimizer_state)

    if _find(optimizer_state, "accepted") is None:
        # Nothing protects such an optimizer from values that are not finite, and one whose second
        # moments have overflowed would stand still without a word.
        finite &= ~_overflows(optimizer_state, state.optimizer_state)
        z = tree_where(finite, z, state.z)
        optimizer_state = tree_where(finite, optimizer_state, state.optimizer_state)
    accepted, stuck = _verdict(optimizer_state, finite)
    info = Info(
        loss=loss,
        penalty=terms["penalty"],
        gradient_norm=norm(gradient),
        pixel_change_norm=_distance(problem, z, state.z),
        learning_rate=_learning_rate(optimizer_state, loss.dtype),
        num_evaluations=1 + _line_search_evaluations(optimizer_state),
        accepted=accepted,
        terms=_reported(terms, state.memory),
    )
    return _follow(problem, solver, state, info, terms, z, optimizer_state, finite, stuck), info


def _follow(
    problem: AbstractProblem,
    solver: Solver,
    state: State,
    info: Info,
    terms: dict[str, Array],
    z: PyTree,
    optimizer_state: PyTree,
    finite: Array,
    stuck: Array,
) -> State:
    """The state after a step that reports `info` and whose optimizer goes on to `z`."""
    accepted = info.accepted
    stop_state = solver.stop.update(state.stop_state, info)
    met = solver.stop.fires(stop_state) & accepted
    terms = terms | {"loss": info.loss}
    memory, goes_on, changes = state.memory, jnp.zeros((), bool), accepted
    if isinstance(memory, Stage):
        memory = dataclasses.replace(memory, num_steps=memory.num_steps + 1)
        # A line search that finds nothing better has come to the end of its stage, not of the run.
        goes_on = finite & ~memory.is_last
        # A stage may be over at a rejected trial, from whose anchor the next then starts.
        ends = memory.at_limit & ~memory.is_last & ~(stuck & ~finite)
        changes = accepted | (stuck & goes_on) | ends
    advanced = problem.advance(memory, state.z, terms)
    if isinstance(memory, Stage):
        advanced = dataclasses.replace(advanced, num_steps=memory.num_steps)
        met &= advanced.may_stop
    memory = tree_where(changes, advanced, memory)
    status = Status.where(
        stuck & ~finite,
        Status.nonfinite,
        Status.where((stuck | met) & ~goes_on, Status.plateau, Status.running),
    )
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
        num_evaluations=state.num_evaluations + info.num_evaluations,
        status=status,
    )
    if not isinstance(state.memory, Stage):
        return new
    return tree_where(new.memory.index != state.memory.index, _begin_stage(solver, new), new)


def evaluate_last(
    problem: AbstractProblem | Batched, new: State, info: Info, state: State
) -> tuple[State, Info]:
    """The given state, told by a step from it (`new`, `info`) what its last point is worth.

    The update of that step is discarded: it is taken for the loss of the image that is returned.
    """

    def one(new: State, state: State) -> State:
        nonfinite = new.status == Status.nonfinite
        return dataclasses.replace(
            state,
            accepted_z=new.accepted_z,
            accepted_loss=new.accepted_loss,
            status=Status.where(nonfinite, Status.nonfinite, state.status),
        )

    if isinstance(problem, Batched):
        return jax.vmap(one)(new, state), info
    return one(new, state), info


def _begin_stage(solver: Solver, state: State) -> State:
    """The state at the start of a stage, whose objective is another than that of the last."""
    has_trials = _find(state.optimizer_state, "accepted") is not None
    return dataclasses.replace(
        state,
        # The next trial was chosen for the old objective.
        z=state.accepted_z if has_trials else state.z,
        optimizer_state=restart_optimizer(solver.optimizer, state.optimizer_state, state.z),
        stop_state=solver.stop.init(state.accepted_loss.dtype),
        memory=dataclasses.replace(state.memory, num_steps=jnp.zeros_like(state.memory.num_steps)),
    )


def _reported(terms: dict[str, Array], memory: PyTree) -> dict[str, Array]:
    reported = {name: term for name, term in terms.items() if name != "penalty"}
    return reported | ({"scale": memory.index} if isinstance(memory, Stage) else {})


def _verdict(optimizer_state: PyTree, finite: Array) -> tuple[Array, Array]:
    """Whether the evaluated point is accepted, and whether the optimizer can go no further."""
    accepted = _find(optimizer_state, "accepted")
    if accepted is None:
        return finite, ~finite
    exhausted = _find(optimizer_state, "exhausted")
    return accepted & finite, jnp.zeros_like(finite) if exhausted is None else exhausted


def _overflows(new: PyTree, old: PyTree) -> Array:
    """Whether an array of an optimizer's state has left the range of its dtype in this step."""

    def arrays(state: PyTree) -> list[Array]:
        # Line searches have scalars that are infinite at times.
        return [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]

    return _all_finite(arrays(old)) & ~_all_finite(arrays(new))


def _all_finite(tree: PyTree) -> Array:
    finite = jnp.ones((), bool)
    for leaf in jax.tree.leaves(tree):
        finite &= jnp.all(jnp.isfinite(leaf))
    return finite


def _find(optimizer_state: PyTree, name: str) -> Array | None:
    """An array that an optimizer's state holds by this name, however deep; None unless just one."""
    found = optax.tree.get_all_with_path(optimizer_state, name)
    arrays = [value for _, value in found if is_array(value)]
    return arrays[0] if len(arrays) == 1 else None


def _line_search_evaluations(optimizer_state: PyTree) -> Array:
    evaluations = _find(optimizer_state, "num_linesearch_steps")
    return jnp.zeros((), jnp.int32) if evaluations is None else jnp.asarray(evaluations, jnp.int32)


def _learning_rate(optimizer_state: PyTree, dtype: jnp.dtype) -> Array:
    rate = _find(optimizer_state, "learning_rate")
    rate = jnp.asarray(jnp.nan if rate is None else rate, dtype)
    plateau_schedules = [
        leaf
        for leaf in jax.tree.leaves(optimizer_state, is_leaf=_is_plateau_schedule)
        if _is_plateau_schedule(leaf)
    ]
    for schedule in plateau_schedules:
        rate = rate * jnp.asarray(schedule.scale, dtype)
    return rate


def _is_plateau_schedule(node: PyTree) -> bool:
    return isinstance(node, optax.contrib.ReduceLROnPlateauState)


def _distance(problem: AbstractProblem, a: PyTree, b: PyTree) -> Array:
    return optax.tree.norm(problem.decode(a) - problem.decode(b))


def _keep_dtypes(new: PyTree, old: PyTree) -> PyTree:
    """Undo promotions inside an optimizer: a state that changes its type is traced again."""
    return jax.tree.map(lambda n, o: jnp.asarray(n, o.dtype), new, old)


def _check_fits(problem: AbstractProblem | Batched, solver: Solver, state: State) -> None:
    if isinstance(problem, Batched):
        wanted = eqx.filter_eval_shape(
            lambda b, z: b.map(lambda p, z: init_from_z(p, solver, z), z), problem, state.z
        )
    else:
        wanted = eqx.filter_eval_shape(init_from_z, problem, solver, state.z)
    wanted = {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(wanted)
    }
    check_alike(
        leaves_by_path(state),
        wanted,
        lambda fault: (
            f"The state does not belong to this problem and solver: {fault}. Make one with "
            "init(problem, solver, ...)."
        ),
    )
