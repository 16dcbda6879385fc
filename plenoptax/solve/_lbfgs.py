from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from .._tree import tree_where
from .._types import PyTree, Scalar


class LBFGSState(NamedTuple):
    """The state of `lbfgs`: an anchor, and a line search under way from it.

    Attributes:
        memory: optax's L-BFGS memory. Its `params` and `updates` are the anchor, which is the
            point accepted last, and the gradient there.
        anchor_value: The objective at the anchor.
        direction: The direction of the search.
        slope: The derivative of the objective along it at the anchor; negative.
        learning_rate: The step length of the trial that is evaluated next.
        low: The longest step length known to be too short, 0 if none is.
        high: The shortest step length known to be too long, infinity if none is.
        num_trials: Trials rejected since the anchor.
        fresh: Whether there is no anchor yet.
        restarted: Whether the search from this anchor already follows the bare gradient.
        accepted: Whether the point evaluated last was accepted.
        exhausted: Whether the trials ran out along the bare gradient too.
    """

    memory: PyTree
    anchor_value: Scalar
    direction: PyTree
    slope: Scalar
    learning_rate: Scalar
    low: Scalar
    high: Scalar
    num_trials: Int[Array, ""]
    fresh: Bool[Array, ""]
    restarted: Bool[Array, ""]
    accepted: Bool[Array, ""]
    exhausted: Bool[Array, ""]


def lbfgs(
    memory_size: int = 20,
    *,
    sufficient_decrease: float = 1e-4,
    curvature: float = 0.9,
    max_trials: int = 20,
) -> optax.GradientTransformationExtraArgs:
    """L-BFGS that takes one evaluation of the objective a step.

    The directions are optax's. The line search is a state machine: each step evaluates one trial,
    accepts it or not by the weak Wolfe conditions, and says where to evaluate next. Hence one copy
    of the objective in the compiled program, no loop around it (which XLA runs many times slower
    on CPU where the model convolves), and a step of known cost. The losses of a trace include the
    rejected trials; `Info.accepted` tells which.

    A trial that is not finite is rejected like one that does not decrease. When the trials run out
    the search starts again along the bare gradient; when they run out there too, the synthesis is
    on a plateau (or nonfinite, if the trials were).

    With a hard constraint the decrease is judged by where the projection lets the step end.

    Args:
        memory_size: Pairs of differences that make up the inverse Hessian, 20 by default: with 100
            the direction costs as much as evaluating a Portilla-Simoncelli model.
        sufficient_decrease: The share of the decrease predicted by the slope that must come true.
        curvature: The share of the slope that may remain at an accepted point. Below 1, it keeps
            the inverse Hessian positive definite.
        max_trials: Trials from one anchor before the search gives up.

    Returns:
        An optax transformation whose update wants the keyword argument ``value``.

    References:
        Liu and Nocedal (1989), Mathematical Programming 45, 503-528; the bracketing is that of
        Lewis and Overton (2013), Mathematical Programming 141, 135-163.

    Example:
        >>> import jax, jax.numpy as jnp, plenoptax as plx
        >>> optimizer = plx.lbfgs()
        >>> z = jnp.array([3.0, -1.0])
        >>> state = optimizer.init(z)
        >>> for _ in range(10):
        ...     value, gradient = jax.value_and_grad(lambda z: jnp.sum(z**2 * jnp.array([1, 9.0])))(z)
        ...     updates, state = optimizer.update(gradient, state, z, value=value)
        ...     z = z + updates
        >>> bool(value < 1e-6)
        True
    """
    directions = optax.scale_by_lbfgs(memory_size=memory_size)

    def init(params: PyTree) -> LBFGSState:
        dtype = jnp.result_type(optax.tree.norm(params))
        memory = directions.init(params)
        memory = memory._replace(weights_memory=memory.weights_memory.astype(dtype))
        zero = jnp.zeros((), dtype)
        false = jnp.zeros((), bool)
        return LBFGSState(
            memory=memory,
            anchor_value=zero,
            direction=optax.tree.zeros_like(params),
            slope=zero,
            learning_rate=zero,
            low=zero,
            high=zero,
            num_trials=jnp.zeros((), jnp.int32),
            fresh=jnp.ones((), bool),
            restarted=false,
            accepted=false,
            exhausted=false,
        )

    def update(
        gradient: PyTree, state: LBFGSState, params: PyTree, *, value: Scalar, **unused: PyTree
    ) -> tuple[PyTree, LBFGSState]:
        value = value.astype(state.anchor_value.dtype)
        finite = jnp.isfinite(value)
        displacement = optax.tree.sub(params, state.memory.params)
        predicted = optax.tree.vdot(state.memory.updates, displacement)
        # In the last digits rounding alone can hide a decrease.
        rounding = jnp.finfo(value.dtype).eps * jnp.abs(state.anchor_value)
        decreased = value <= state.anchor_value + sufficient_decrease * predicted + rounding
        decreased &= finite
        flat_enough = optax.tree.vdot(gradient, state.direction) >= curvature * state.slope
        last_trial = state.num_trials >= max_trials
        accepted = finite & (state.fresh | (decreased & (flat_enough | last_trial)))

        moved = _from_new_anchor(directions, gradient, state, params, value)
        trial = _next_trial(state, value, decreased, max_trials)
        restart = _along_gradient(state)
        given_up = last_trial & ~accepted
        new = tree_where(accepted, moved, tree_where(given_up & ~state.restarted, restart, trial))
        # Where the trial is rejected the pair of differences written to the oldest slot is
        # meaningless, but its slot is written again before it is read: copying it back would cost
        # more than the rest of the update.
        new = new._replace(
            memory=new.memory._replace(
                diff_params_memory=moved.memory.diff_params_memory,
                diff_updates_memory=moved.memory.diff_updates_memory,
            ),
            accepted=accepted,
            exhausted=~accepted & (state.fresh | (given_up & state.restarted)),
        )
        target = optax.tree.add_scale(new.memory.params, new.learning_rate, new.direction)
        target = tree_where(new.exhausted, params, target)
        return optax.tree.sub(target, params), new

    return optax.GradientTransformationExtraArgs(init, update)


def _from_new_anchor(
    directions: optax.GradientTransformation,
    gradient: PyTree,
    state: LBFGSState,
    params: PyTree,
    value: Scalar,
) -> LBFGSState:
    """The search that starts at the point just evaluated."""
    ascent, memory = directions.update(gradient, state.memory, params)
    slope = -optax.tree.vdot(ascent, gradient)
    # A direction that does not descend comes from pairs of negative curvature: forget them.
    descends = slope < 0
    steepest, steepest_slope = _steepest(gradient)
    direction = tree_where(descends, optax.tree.scale(-1, ascent), steepest)
    weights = jnp.where(descends, memory.weights_memory, jnp.zeros_like(memory.weights_memory))
    return state._replace(
        memory=memory._replace(weights_memory=weights),
        anchor_value=value,
        direction=direction,
        slope=jnp.where(descends, slope, steepest_slope),
        learning_rate=jnp.ones_like(value),
        low=jnp.zeros_like(value),
        high=jnp.full_like(value, jnp.inf),
        num_trials=jnp.zeros_like(state.num_trials),
        fresh=jnp.zeros_like(state.fresh),
        restarted=~descends,
    )


def _next_trial(
    state: LBFGSState, value: Scalar, decreased: Bool[Array, ""], max_trials: int
) -> LBFGSState:
    """The search with the rejected trial taken into its bracket."""
    length = state.learning_rate
    low = jnp.where(decreased, length, state.low)
    high = jnp.where(decreased, state.high, length)
    # The parabola through the anchor, its slope and the trial; kept off both ends.
    excess = value - state.anchor_value - length * state.slope
    has_minimum = jnp.isfinite(excess) & (excess > 0)
    vertex = -state.slope * length**2 / (2 * jnp.where(has_minimum, excess, 1))
    shorter = jnp.clip(jnp.where(has_minimum, vertex, 0), 0.1 * length, 0.5 * length)
    bisected = 0.5 * (low + jnp.where(jnp.isfinite(high), high, low))
    length = jnp.where(jnp.isfinite(high), jnp.where(low > 0, bisected, shorter), 2 * length)
    num_trials = state.num_trials + 1
    # A point that decreased is better than none.
    length = jnp.where((num_trials >= max_trials) & (low > 0), low, length)
    return state._replace(learning_rate=length, low=low, high=high, num_trials=num_trials)


def _along_gradient(state: LBFGSState) -> LBFGSState:
    """The search from the same anchor, along the bare gradient and with an empty memory."""
    direction, slope = _steepest(state.memory.updates)
    memory = state.memory
    return state._replace(
        memory=memory._replace(weights_memory=jnp.zeros_like(memory.weights_memory)),
        direction=direction,
        slope=slope,
        learning_rate=jnp.ones_like(state.learning_rate),
        low=jnp.zeros_like(state.low),
        high=jnp.full_like(state.high, jnp.inf),
        num_trials=jnp.zeros_like(state.num_trials),
        restarted=jnp.ones_like(state.restarted),
    )


def _steepest(gradient: PyTree) -> tuple[PyTree, Scalar]:
    """The direction against the gradient, at most one unit long, and the slope along it."""
    norm = optax.tree.norm(gradient)
    scale = 1 / jnp.maximum(norm, 1)
    return optax.tree.scale(-scale, gradient), -scale * norm**2
