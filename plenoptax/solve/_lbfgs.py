from collections.abc import Callable
from typing import final, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

from .._rules import checked, COUNT, Real
from .._tree import tree_where
from .._types import PyTree, Scalar
from ._optimizer import AbstractOptimizer, Outcome


class InverseHessian(NamedTuple):
    """The limited-memory BFGS approximation of an inverse Hessian.

    Optax's `scale_by_lbfgs` computes the same product by a recursion over the pairs. This is the
    compact representation: two products with the matrices of all steps and changes, and two small
    triangular solves. With 100 pairs of 256 x 256 pixels it takes a third of the time on CPU. A
    long memory pays: with 100 pairs instead of 20, Portilla-Simoncelli metamers take about a third
    fewer evaluations.

    Attributes:
        point: The point of the newest gradient, flat.
        gradient: The newest gradient.
        steps: The differences between successive points, one per row, in a ring buffer.
        changes: The differences between the gradients at these points.
        steps_by_changes: The inner products of each row of `steps` with each of `changes`. Only
            those of older steps with newer changes are updated; the others are meaningless. An
            empty row has a zero on the diagonal.
        changes_by_changes: The inner products of the rows of `changes`.
        steps_on: The inner products of the rows of `steps` with `gradient`.
        changes_on: The inner products of the rows of `changes` with `gradient`.
        scale: The inverse Hessian along directions that are not in memory.
        count: The number of rows written so far.

    References:
        Byrd, Nocedal and Schnabel (1994), Mathematical Programming 63, 129-156, section 2.
    """

    point: Float[Array, "..."]
    gradient: Float[Array, "..."]
    steps: Float[Array, "..."]
    changes: Float[Array, "..."]
    steps_by_changes: Float[Array, "..."]
    changes_by_changes: Float[Array, "..."]
    steps_on: Float[Array, "..."]
    changes_on: Float[Array, "..."]
    scale: Scalar
    count: Int[Array, ""]


class LBFGSState(NamedTuple):
    """The state of `lbfgs`: an anchor, and a line search under way from it.

    All its values, gradients and slopes are those of the objective times `normalizer`.

    Attributes:
        normalizer: A power of two that makes the largest element of the first gradient about 1. It
            keeps inner products of gradients in the range of their dtype.
        memory: The inverse Hessian. Its `point` is the anchor, the last accepted point. Its
            `gradient` is the gradient there, with zeros for the blocked elements.
        blocked: 1 for the elements that a constraint keeps from growing, -1 for those that it keeps
            from shrinking, else 0.
        anchor_value: The objective at the anchor.
        direction: The direction of the search.
        slope: The derivative of the objective along `direction` at the anchor; negative.
        learning_rate: The step length of the next trial.
        low: The longest step length known to be too short, 0 if none is.
        high: The shortest step length known to be too long, infinity if none is.
        num_trials: The number of trials rejected since the anchor.
        fresh: Whether there is no anchor yet.
        restarted: Whether the search from this anchor already follows the bare gradient.
    """

    normalizer: Scalar
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


@final
class LBFGS(AbstractOptimizer):
    """L-BFGS with one evaluation of the objective per step; made by `lbfgs`.

    When the objective changes, it starts again at the last accepted point, because the next trial
    was chosen for the old objective.

    Attributes:
        memory_size: The number of pairs in memory; see `lbfgs`.
        sufficient_decrease: The fraction of the predicted decrease that a step must reach.
        curvature: The fraction of the slope that may remain at an accepted point.
        max_trials: The maximum number of trials from one anchor.
    """

    memory_size: int = eqx.field(static=True)
    sufficient_decrease: float = eqx.field(static=True)
    curvature: float = eqx.field(static=True)
    max_trials: int = eqx.field(static=True)

    def init(self, z: PyTree) -> LBFGSState:
        """See `AbstractOptimizer.init`."""
        flat, _ = ravel_pytree(z)
        zero, false = jnp.zeros((), flat.dtype), jnp.zeros((), bool)
        return LBFGSState(
            normalizer=jnp.ones_like(zero),
            memory=empty_inverse_hessian(flat.size, self.memory_size, flat.dtype),
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
        )

    def update(
        self,
        gradient: PyTree,
        state: LBFGSState,
        z: PyTree,
        *,
        value: Scalar,
        value_fn: Callable | None = None,
    ) -> tuple[PyTree, LBFGSState, Outcome]:
        """See `AbstractOptimizer.update`; `value_fn` is not used."""
        (point, unravel), (flat, _) = ravel_pytree(z), ravel_pytree(gradient)
        new, accepted, exhausted = self._judge(state, point, flat, value)
        target = new.memory.point + new.learning_rate * new.direction
        outcome = Outcome(
            accepted=accepted,
            exhausted=exhausted,
            finite=jnp.isfinite(value),
            num_evaluations=jnp.ones((), jnp.int32),
            learning_rate=new.learning_rate.astype(value.dtype),
        )
        return unravel(target - point), new, outcome

    def restart(
        self, state: LBFGSState, z: PyTree, accepted_z: PyTree
    ) -> tuple[PyTree, LBFGSState]:
        """See `AbstractOptimizer.restart`."""
        return accepted_z, self.init(accepted_z)

    def _judge(
        self,
        state: LBFGSState,
        point: Float[Array, " size"],
        gradient: Float[Array, " size"],
        value: Scalar,
    ) -> tuple[LBFGSState, Bool[Array, ""], Bool[Array, ""]]:
        """Return the search after a trial, whether it is accepted, and whether no trial is left."""
        value = state.normalizer * value.astype(state.anchor_value.dtype)
        gradient = state.normalizer * gradient
        finite = jnp.isfinite(value)
        predicted = jnp.vdot(state.memory.gradient, point - state.memory.point)
        # In the last digits, rounding can hide a decrease.
        rounding = jnp.finfo(value.dtype).eps * jnp.abs(state.anchor_value)
        decreased = value <= state.anchor_value + self.sufficient_decrease * predicted + rounding
        decreased &= finite
        blocked = _find_blocked(state, point, gradient)
        gradient = jnp.where(blocked == 0, gradient, 0)
        flat_enough = jnp.vdot(gradient, point - state.memory.point) >= self.curvature * predicted
        last_trial = state.num_trials >= self.max_trials
        accepted = finite & (state.fresh | (decreased & (flat_enough | last_trial)))

        moved = _from_new_anchor(state._replace(blocked=blocked), point, gradient, value)
        trial = _next_trial(state, value, decreased, self.max_trials)
        restart = _along_gradient(state)
        given_up = last_trial & ~accepted
        new = tree_where(accepted, moved, tree_where(given_up & ~state.restarted, restart, trial))
        # If the trial is rejected, the pair in the oldest row is meaningless. But that row is
        # written again before it is read, and copying it back would cost more than everything else.
        memory = new.memory._replace(steps=moved.memory.steps, changes=moved.memory.changes)
        exhausted = ~accepted & (state.fresh | (given_up & state.restarted))
        return new._replace(memory=memory), accepted, exhausted


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
) -> LBFGS:
    """Build an L-BFGS optimizer that takes one evaluation of the objective per step.

    The line search is a state machine: each step evaluates one trial, accepts or rejects it by the
    weak Wolfe conditions, and chooses the next point to evaluate. So the compiled program contains
    one copy of the objective, no loop around it (which XLA runs many times slower on CPU if the
    model convolves), and a step has a known cost. The losses of a trace include the rejected
    trials; `Info.accepted` marks the accepted ones.

    A trial that is not finite is rejected like one that does not decrease the objective. When the
    trials run out, the search starts again along the negative gradient. When they run out there
    too, the synthesis is on a plateau: no trial gives a smaller loss (or it is nonfinite, if the
    trials were).

    The unit of the objective does not matter: multiplied by a power of two, it leads to the same
    points bit for bit, if its values and gradients stay in the range of their dtype. The first
    step, and a step that starts again along the negative gradient, has the length 1, or a
    thousandth of the norm of the point if that is larger.

    With a hard constraint, both conditions are evaluated at the projected end of the step. An
    element that the projection keeps from moving, such as a pixel at its bound, is left out of the
    gradient and of the directions until the gradient points away from the bound.

    Args:
        memory_size: The number of pairs of differences in the inverse Hessian. Each takes the
            memory of two images. At 256 x 256 pixels, 100 pairs take 52 MB and about 3 ms per step.
        sufficient_decrease: The fraction of the decrease predicted by the slope that a step must
            reach.
        curvature: The fraction of the slope that may remain at an accepted point. A value below 1
            keeps the inverse Hessian positive definite.
        max_trials: The maximum number of trials from one anchor.

    Returns:
        The optimizer. It is not an optax transformation: its update requires the keyword argument
        ``value`` and also returns an `Outcome`.

    References:
        Liu and Nocedal (1989), Mathematical Programming 45, 503-528; the bracketing follows Lewis
        and Overton (2013), Mathematical Programming 141, 135-163.

    Example:
        >>> import jax, jax.numpy as jnp, plenoptax as plx
        >>> optimizer, curvature = plx.lbfgs(), jnp.array([1.0, 9.0])
        >>> z = jnp.array([3.0, -1.0])
        >>> state = optimizer.init(z)
        >>> for _ in range(10):
        ...     value, gradient = jax.value_and_grad(lambda z: curvature @ z**2)(z)
        ...     updates, state, _ = optimizer.update(gradient, state, z, value=value)
        ...     z = z + updates
        >>> bool(value < 1e-6)
        True
    """
    return LBFGS(memory_size, sufficient_decrease, curvature, max_trials)


def _find_blocked(
    state: LBFGSState, point: Float[Array, " size"], gradient: Float[Array, " size"]
) -> Float[Array, " size"]:
    """Find the elements that did not follow the step and that the gradient moves the same way."""
    anchor, step = state.memory.point, state.learning_rate * state.direction
    stayed = (point == anchor) & ~state.fresh
    # A smaller step is lost in rounding even if nothing blocks the element.
    asked = jnp.abs(step) > 16 * jnp.finfo(step.dtype).eps * jnp.maximum(jnp.abs(anchor), 1)
    side = jnp.where(stayed, jnp.where(asked, jnp.sign(step), state.blocked), 0)
    return jnp.where(side * gradient < 0, side, 0)


def _from_new_anchor(
    state: LBFGSState, point: Float[Array, " size"], gradient: Float[Array, " size"], value: Scalar
) -> LBFGSState:
    """Return the search that starts at the point just evaluated."""
    begins, factor = _normalize(state, gradient, value)
    gradient, value = factor * gradient, factor * value
    first_scale, steepest, steepest_slope = _steepest(point, gradient)
    ascent, memory = learn_and_apply(state.memory, point, gradient, begins, first_scale)
    ascent = jnp.where(state.blocked == 0, ascent, 0)
    slope = -jnp.vdot(ascent, gradient)
    # If the pairs are nearly dependent, rounding can spoil the direction: forget them then.
    descends = slope < 0
    return state._replace(
        normalizer=factor * state.normalizer,
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


def _normalize(
    state: LBFGSState, gradient: Float[Array, " size"], value: Scalar
) -> tuple[Bool[Array, ""], Scalar]:
    """Return whether to begin here, with an empty memory, and the power of two to multiply by.

    The search begins at the first point. It also begins at a point where the gradient has grown or
    fallen so far that inner products would soon overflow or vanish.
    """
    limits = jnp.finfo(gradient.dtype)
    far = 2.0 ** (3 * limits.maxexp // 8)
    # The value must stay in range too, even if the gradient is small.
    size = jnp.maximum(jnp.max(jnp.abs(gradient)), jnp.abs(value) / far)
    begins = state.fresh | (size > far) | ((size > 0) & (size < 1 / far))
    factor = jax.lax.reduce_precision(1 / jnp.where(size > 0, size, 1), limits.nexp, 0)
    factor = jnp.clip(factor, limits.tiny, 1 / limits.tiny)
    return begins, jnp.where(begins, factor, 1)


def _next_trial(
    state: LBFGSState, value: Scalar, decreased: Bool[Array, ""], max_trials: int
) -> LBFGSState:
    """Return the search with the rejected trial included in its bracket."""
    length = state.learning_rate
    low = jnp.where(decreased, length, state.low)
    high = jnp.where(decreased, state.high, length)
    # The minimum of the parabola through the anchor, its slope and the trial, kept away from both
    # ends.
    excess = value - state.anchor_value - length * state.slope
    has_minimum = jnp.isfinite(excess) & (excess > 0)
    vertex = -state.slope * length**2 / (2 * jnp.where(has_minimum, excess, 1))
    shorter = jnp.clip(jnp.where(has_minimum, vertex, 0), 0.1 * length, 0.5 * length)
    bisected = 0.5 * (low + jnp.where(jnp.isfinite(high), high, low))
    length = jnp.where(jnp.isfinite(high), jnp.where(low > 0, bisected, shorter), 2 * length)
    num_trials = state.num_trials + 1
    # At the last trial, use a point that decreased the objective.
    length = jnp.where((num_trials >= max_trials) & (low > 0), low, length)
    return state._replace(learning_rate=length, low=low, high=high, num_trials=num_trials)


def _along_gradient(state: LBFGSState) -> LBFGSState:
    """Return the search from the same anchor, along the gradient, with an empty memory."""
    _, direction, slope = _steepest(state.memory.point, state.memory.gradient)
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


def _steepest(
    point: Float[Array, " size"], gradient: Float[Array, " size"]
) -> tuple[Scalar, Float[Array, " size"], Scalar]:
    """Return the initial scale of the inverse Hessian, its direction, and the slope.

    The length of the direction does not depend on the gradient, which has the unit of the
    objective.
    """
    length = jnp.linalg.norm(gradient)
    scale = jnp.maximum(1, 1e-3 * jnp.linalg.norm(point)) / jnp.where(length > 0, length, 1)
    return scale, -scale * gradient, -scale * length**2


def empty_inverse_hessian(size: int, memory_size: int, dtype: jnp.dtype) -> InverseHessian:
    """Return the approximation before the first gradient."""
    return InverseHessian(
        point=jnp.zeros((size,), dtype),
        gradient=jnp.zeros((size,), dtype),
        steps=jnp.zeros((memory_size, size), dtype),
        changes=jnp.zeros((memory_size, size), dtype),
        steps_by_changes=jnp.zeros((memory_size, memory_size), dtype),
        changes_by_changes=jnp.zeros((memory_size, memory_size), dtype),
        steps_on=jnp.zeros((memory_size,), dtype),
        changes_on=jnp.zeros((memory_size,), dtype),
        scale=jnp.ones((), dtype),
        count=jnp.zeros((), jnp.int32),
    )


def learn_and_apply(
    memory: InverseHessian,
    point: Float[Array, " size"],
    gradient: Float[Array, " size"],
    is_first: Bool[Array, ""],
    first_scale: Scalar,
) -> tuple[Float[Array, " size"], InverseHessian]:
    """Add the gradient at a new point to the memory, and multiply it by the approximation.

    A pair whose curvature is not safely positive is left out, and its row stays empty.

    Args:
        memory: The current approximation.
        point: The new point.
        gradient: The gradient there.
        is_first: Whether to start with this point and forget the memory.
        first_scale: The inverse Hessian at the first point.

    Returns:
        The product, which is a direction of ascent, and the new memory.
    """
    step, change = point - memory.point, gradient - memory.gradient
    curvature, roughness = jnp.vdot(step, change), jnp.vdot(change, change)
    rounding = jnp.finfo(point.dtype).eps
    length = jnp.sqrt(jnp.vdot(step, step))
    useful = ~is_first & (curvature > rounding * jnp.sqrt(roughness) * length)
    size = memory.steps.shape[0]
    slot = memory.count % size
    steps, changes = memory.steps.at[slot].set(step), memory.changes.at[slot].set(change)
    # A pass over all pairs takes as long as everything else together. So the products with the
    # change are computed as differences of those with the gradients before and after it.
    steps_on, changes_on = steps @ gradient, changes @ gradient
    changes_by_change = (changes_on - memory.changes_on).at[slot].set(roughness)
    steps_by_changes = jnp.where(is_first, 0, memory.steps_by_changes)
    steps_by_changes = steps_by_changes.at[:, slot].set(steps_on - memory.steps_on)
    steps_by_changes = steps_by_changes.at[slot, slot].set(jnp.where(useful, curvature, 0))
    changes_by_changes = memory.changes_by_changes.at[:, slot].set(changes_by_change)
    changes_by_changes = changes_by_changes.at[slot, :].set(changes_by_change)
    learned = jnp.where(useful, curvature / jnp.where(useful, roughness, 1), memory.scale)
    scale = jnp.where(is_first, first_scale, learned)

    oldest_first = (slot + 1 + jnp.arange(size, dtype=slot.dtype)) % size
    on_changes, on_steps = _solve(
        steps_by_changes[oldest_first][:, oldest_first],
        changes_by_changes[oldest_first][:, oldest_first],
        steps_on[oldest_first],
        changes_on[oldest_first],
        scale,
    )
    in_slots = (jnp.arange(size, dtype=slot.dtype) - slot - 1) % size
    ascent = scale * (gradient - on_changes[in_slots] @ changes) + on_steps[in_slots] @ steps
    new = InverseHessian(
        point, gradient, steps, changes, steps_by_changes, changes_by_changes, steps_on, changes_on,
        scale, memory.count + 1,
    )  # fmt: skip
    return ascent, new


def _solve(
    steps_by_changes: Float[Array, "pairs pairs"],
    changes_by_changes: Float[Array, "pairs pairs"],
    steps_on: Float[Array, " pairs"],
    changes_on: Float[Array, " pairs"],
    scale: Scalar,
) -> tuple[Float[Array, " pairs"], Float[Array, " pairs"]]:
    """Return the coefficients of the changes and the steps in the product, oldest pair first."""
    curvatures = jnp.diagonal(steps_by_changes)
    known = curvatures > 0
    both = known[:, None] & known[None]
    identity = jnp.eye(known.size, dtype=steps_by_changes.dtype)
    upper = jnp.where(both, jnp.triu(steps_by_changes), identity)
    on_changes = solve_triangular(upper, jnp.where(known, steps_on, 0))
    rest = changes_on - jnp.where(both, changes_by_changes, 0) @ on_changes
    right = jnp.where(known, curvatures * on_changes - scale * rest, 0)
    return on_changes, solve_triangular(upper, right, trans="T")


def forget(memory: InverseHessian) -> InverseHessian:
    """Return the approximation with the same point and no pairs."""
    return memory._replace(steps_by_changes=jnp.zeros_like(memory.steps_by_changes))
