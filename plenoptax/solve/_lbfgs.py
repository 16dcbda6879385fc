from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from .._rules import checked, COUNT, Real
from .._tree import tree_where
from .._types import PyTree, Scalar
from ._inverse_hessian import (
    empty_inverse_hessian,
    forget,
    InverseHessian,
    learn_and_apply,
)


class LBFGSState(NamedTuple):
    """The state of `lbfgs`: an anchor, and a line search under way from it.

    Attributes:
        memory: The inverse Hessian. Its `point` and `gradient` are the anchor, which is the point
            accepted last, and the gradient there, of the elements that can follow it.
        blocked: 1 for the elements that a constraint keeps from becoming larger, -1 for those that
            it keeps from becoming smaller, else 0.
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

    memory: InverseHessian
    blocked: Float[Array, "..."]
    anchor_value: Scalar
    direction: Float[Array, "..."]
    slope: Scalar
    learning_rate: Scalar
    low: Scalar
    high: Scalar
    num_trials: Int[Array, ""]
    fresh: Bool[Array, ""]
    restarted: Bool[Array, ""]
    accepted: Bool[Array, ""]
    exhausted: Bool[Array, ""]


@checked(
    memory_size=COUNT,
    sufficient_decrease=Real(at_least=0, below=1),
    curvature=Real(above=0, below=1),
    max_trials=COUNT,
)
def lbfgs(
    memory_size: int = 100,
    *,
    sufficient_decrease: float = 1e-4,
    curvature: float = 0.9,
    max_trials: int = 20,
) -> optax.GradientTransformationExtraArgs:
    """L-BFGS that takes one evaluation of the objective a step.

    The line search is a state machine: each step evaluates one trial, accepts it or not by the weak
    Wolfe conditions, and says where to evaluate next. Hence one copy
    of the objective in the compiled program, no loop around it (which XLA runs many times slower
    on CPU where the model convolves), and a step of known cost. The losses of a trace include the
    rejected trials; `Info.accepted` tells which.

    A trial that is not finite is rejected like one that does not decrease. When the trials run out
    the search starts again along the bare gradient; when they run out there too, the synthesis is
    on a plateau (or nonfinite, if the trials were).

    With a hard constraint both conditions are judged by where the projection lets the step end. An
    element that it does not let move, such as a pixel at its bound, is left out of the gradient
    and of the directions until the gradient points away from there.

    Args:
        memory_size: Pairs of differences that make up the inverse Hessian. Each takes the memory
            of two images. At 256 x 256 pixels 100 pairs are 52 MB and cost about 3 ms a step.
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
        >>> optimizer, curvature = plx.lbfgs(), jnp.array([1.0, 9.0])
        >>> z = jnp.array([3.0, -1.0])
        >>> state = optimizer.init(z)
        >>> for _ in range(10):
        ...     value, gradient = jax.value_and_grad(lambda z: curvature @ z**2)(z)
        ...     updates, state = optimizer.update(gradient, state, z, value=value)
        ...     z = z + updates
        >>> bool(value < 1e-6)
        True
    """

    def init(params: PyTree) -> LBFGSState:
        return _before_first_evaluation(params, memory_size)

    def update(
        updates: PyTree, state: LBFGSState, params: PyTree, *, value: Scalar, **unused: PyTree
    ) -> tuple[PyTree, LBFGSState]:
        (point, unravel), (gradient, _) = ravel_pytree(params), ravel_pytree(updates)
        value = value.astype(state.anchor_value.dtype)
        finite = jnp.isfinite(value)
        predicted = jnp.vdot(state.memory.gradient, point - state.memory.point)
        # In the last digits rounding alone can hide a decrease.
        rounding = jnp.finfo(value.dtype).eps * jnp.abs(state.anchor_value)
        decreased = value <= state.anchor_value + sufficient_decrease * predicted + rounding
        decreased &= finite
        blocked = _find_blocked(state, point, gradient)
        gradient = jnp.where(blocked == 0, gradient, 0)
        flat_enough = jnp.vdot(gradient, point - state.memory.point) >= curvature * predicted
        last_trial = state.num_trials >= max_trials
        accepted = finite & (state.fresh | (decreased & (flat_enough | last_trial)))

        moved = _from_new_anchor(state._replace(blocked=blocked), point, gradient, value)
        trial = _next_trial(state, value, decreased, max_trials)
        restart = _along_gradient(state)
        given_up = last_trial & ~accepted
        new = tree_where(accepted, moved, tree_where(given_up & ~state.restarted, restart, trial))
        # Where the trial is rejected, the pair in the oldest row is meaningless, but that row is
        # written again before it is read: to copy it back would cost more than all the rest.
        new = new._replace(
            memory=new.memory._replace(steps=moved.memory.steps, changes=moved.memory.changes),
            accepted=accepted,
            exhausted=~accepted & (state.fresh | (given_up & state.restarted)),
        )
        target = new.memory.point + new.learning_rate * new.direction
        return unravel(jnp.where(new.exhausted, 0, target - point)), new

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def _before_first_evaluation(params: PyTree, memory_size: int) -> LBFGSState:
    flat, _ = ravel_pytree(params)
    zero, false = jnp.zeros((), flat.dtype), jnp.zeros((), bool)
    return LBFGSState(
        memory=empty_inverse_hessian(flat.size, memory_size, flat.dtype),
        blocked=jnp.zeros_like(flat),
        anchor_value=zero,
        direction=jnp.zeros_like(flat),
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


def _find_blocked(
    state: LBFGSState, point: Float[Array, " size"], gradient: Float[Array, " size"]
) -> Float[Array, " size"]:
    """Which elements have been asked to move, did not, and would be asked the same again."""
    anchor, step = state.memory.point, state.learning_rate * state.direction
    stayed = (point == anchor) & ~state.fresh
    # A step of less would be lost in rounding where nothing holds the element.
    asked = jnp.abs(step) > 16 * jnp.finfo(step.dtype).eps * jnp.maximum(jnp.abs(anchor), 1)
    side = jnp.where(stayed, jnp.where(asked, jnp.sign(step), state.blocked), 0)
    return jnp.where(side * gradient < 0, side, 0)


def _from_new_anchor(
    state: LBFGSState, point: Float[Array, " size"], gradient: Float[Array, " size"], value: Scalar
) -> LBFGSState:
    """The search that starts at the point just evaluated."""
    ascent, memory = learn_and_apply(state.memory, point, gradient, state.fresh)
    ascent = jnp.where(state.blocked == 0, ascent, 0)
    slope = -jnp.vdot(ascent, gradient)
    # Rounding can spoil the direction where the pairs are nearly dependent: forget them then.
    descends = slope < 0
    steepest, steepest_slope = _steepest(gradient)
    return state._replace(
        memory=tree_where(descends, memory, forget(memory))._replace(
            steps=memory.steps, changes=memory.changes
        ),
        anchor_value=value,
        direction=jnp.where(descends, -ascent, steepest),
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
    direction, slope = _steepest(state.memory.gradient)
    return state._replace(
        memory=forget(state.memory),
        direction=direction,
        slope=slope,
        learning_rate=jnp.ones_like(state.learning_rate),
        low=jnp.zeros_like(state.low),
        high=jnp.full_like(state.high, jnp.inf),
        num_trials=jnp.zeros_like(state.num_trials),
        restarted=jnp.ones_like(state.restarted),
    )


def _steepest(gradient: Float[Array, " size"]) -> tuple[Float[Array, " size"], Scalar]:
    """The direction against the gradient, at most one unit long, and the slope along it."""
    norm = jnp.linalg.norm(gradient)
    scale = 1 / jnp.maximum(norm, 1)
    return -scale * gradient, -scale * norm**2
