import abc
import functools
import math
from collections.abc import Callable, Hashable
from typing import final, NamedTuple, TypeAlias

import cloudpickle
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from .._rules import NOT_NEGATIVE, Real
from .._tree import all_finite, cast_like, is_array, tree_where
from .._types import PyTree, Scalar
from .._words import in_words, open_closure


class Outcome(eqx.Module):
    """The report of an optimizer on the point that it evaluated.

    Attributes:
        accepted: Whether the point is accepted; a line search rejects trials.
        exhausted: Whether the optimizer cannot move further from its point.
        finite: Whether the value, and the state of the optimizer, are finite.
        num_evaluations: The number of evaluations of the objective: 1, plus those inside the
            update.
        learning_rate: The learning rate or step length in use; NaN if it is unknown.
    """

    accepted: Bool[Array, ""] = eqx.field(converter=jnp.asarray)
    exhausted: Bool[Array, ""] = eqx.field(converter=jnp.asarray)
    finite: Bool[Array, ""] = eqx.field(converter=jnp.asarray)
    num_evaluations: Int[Array, ""] = eqx.field(converter=jnp.asarray)
    learning_rate: Float[Array, ""] = eqx.field(converter=jnp.asarray)


class AbstractOptimizer(eqx.Module):
    """An optimizer of ``z`` that reports the outcome of each update.

    `lbfgs` is one; `Solver` turns an optax transformation into one.
    """

    @abc.abstractmethod
    def init(self, z: PyTree) -> PyTree:
        """Return the state before the first update."""

    @abc.abstractmethod
    def update(
        self, gradient: PyTree, state: PyTree, z: PyTree, *, value: Scalar, value_fn: Callable
    ) -> tuple[PyTree, PyTree, Outcome]:
        """Return the next point to evaluate, as a difference from this one.

        Args:
            gradient: The gradient at `z`.
            state: The state from the last update, or from `init`.
            z: The point.
            value: The objective at `z`; NaN if it or the gradient is not finite.
            value_fn: A function from a point to the objective there, for line searches inside the
                update.

        Returns:
            The difference, the next state, and the outcome. If the optimizer is exhausted, the loop
            does not move.
        """

    @abc.abstractmethod
    def restart(self, state: PyTree, z: PyTree, accepted_z: PyTree) -> tuple[PyTree, PyTree]:
        """Return the point and the state to continue with after the objective has changed.

        Args:
            state: The state from the last update.
            z: The point that would be evaluated next.
            accepted_z: The last accepted point.

        Returns:
            The next point to evaluate, one of the two, and the state.
        """


# States learned from one objective, which must not be used for another.
_LEARNED = (
    optax.ScaleByLBFGSState,
    optax.ScaleByBacktrackingLinesearchState,
    optax.ScaleByZoomLinesearchState,
    optax.ScaleByScheduleState,
    optax.contrib.ReduceLROnPlateauState,
)
_WITH_HYPERPARAMETERS = (optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState)
_SEARCHES = (optax.ScaleByBacktrackingLinesearchState, optax.ScaleByZoomLinesearchState)


@final
class OptaxOptimizer(AbstractOptimizer):
    """An optax transformation as an optimizer.

    It rejects no point, and stops if a value, a gradient or a moment is not finite. The learning
    rate is reported for `optax.inject_hyperparams`, schedules and line searches, multiplied by the
    factor of a plateau schedule; it is NaN if there is no such rate, or several. When the objective
    changes, injected rates, schedules, plateau schedules, line searches and the memory of L-BFGS
    start again, and all moments stay.

    Attributes:
        arrays: The arrays of the transformation.
        rest: The parts that are not arrays. Rebuilding the same transformation gives the same rest,
            and does not recompile.
    """

    arrays: PyTree
    rest: "_Rest" = eqx.field(static=True)

    def __init__(self, transformation: optax.GradientTransformation):
        with_arguments = optax.with_extra_args_support(transformation)
        parts = jax.tree.map(_as_pytree, with_arguments)
        self.arrays, rest = eqxi.hashable_partition(parts, is_array)
        self.rest = _find_rest(rest)

    @property
    def transformation(self) -> optax.GradientTransformationExtraArgs:
        """The transformation, with closures as pytrees."""
        return eqxi.hashable_combine(self.arrays, self.rest.parts)

    def __reduce__(self) -> tuple[Callable, tuple[bytes]]:
        # Transformations consist of closures, which pickle cannot find by name.
        return _rebuild, (cloudpickle.dumps(self.transformation),)

    def init(self, z: PyTree) -> PyTree:
        """See `AbstractOptimizer.init`."""
        return self.transformation.init(z)

    def update(
        self, gradient: PyTree, state: PyTree, z: PyTree, *, value: Scalar, value_fn: Callable
    ) -> tuple[PyTree, PyTree, Outcome]:
        """See `AbstractOptimizer.update`."""
        # optax mixes integers and floating-point numbers, which strict promotion rejects.
        with jax.numpy_dtype_promotion("standard"):
            updates, new = self.transformation.update(
                gradient, state, z, value=value, grad=gradient, value_fn=value_fn
            )
        new = cast_like(new, state)
        old, found = jax.tree.leaves(state), jax.tree.leaves(new)
        # An optimizer whose second moments have overflowed would stop moving silently. Line
        # searches have scalars that are sometimes infinite.
        was_finite, is_finite = (all_finite([x for x in tree if x.ndim]) for tree in (old, found))
        finite = jnp.isfinite(value) & ~(was_finite & ~is_finite)
        searches = [node.info for node in _nodes(new, _SEARCHES) if node.info]
        trials = [info.num_linesearch_steps for info in searches]
        outcome = Outcome(
            accepted=finite,
            exhausted=~finite,
            finite=finite,
            num_evaluations=1 + jnp.asarray(sum(trials), jnp.int32),
            learning_rate=self._learning_rate(new, value.dtype),
        )
        return updates, tree_where(finite, new, state), outcome

    def restart(self, state: PyTree, z: PyTree, accepted_z: PyTree) -> tuple[PyTree, PyTree]:
        """See `AbstractOptimizer.restart`."""
        return z, _without_learned(cast_like(self.init(z), state), state)

    def _learning_rate(self, state: PyTree, dtype: jnp.dtype) -> Scalar:
        injected = [node.hyperparams for node in _nodes(state, _WITH_HYPERPARAMETERS)]
        rates = [found["learning_rate"] for found in injected if "learning_rate" in found]
        rates += [node.learning_rate for node in _nodes(state, _SEARCHES)]
        counts = [node.count for node in _nodes(state, optax.ScaleByScheduleState)]
        schedules = _find_schedules(self.transformation.update) if counts else []
        with jax.numpy_dtype_promotion("standard"):
            # The rate of the step just taken; the schedule has the sign of a descent.
            rates += [
                jnp.abs(schedule(count - 1))
                for schedule, count in zip(schedules, counts, strict=False)
            ]
        rate = jnp.asarray(rates[0] if len(rates) == 1 else jnp.nan, dtype)
        for plateau in _nodes(state, optax.contrib.ReduceLROnPlateauState):
            rate = rate * jnp.asarray(plateau.scale, dtype)
        return rate


def _rebuild(content: bytes) -> OptaxOptimizer:
    arrays, rest = eqxi.hashable_partition(cloudpickle.loads(content), is_array)
    optimizer = object.__new__(OptaxOptimizer)
    object.__setattr__(optimizer, "arrays", arrays)
    object.__setattr__(optimizer, "rest", _find_rest(rest))
    return optimizer


class _Rest:
    """The parts of a transformation that are not arrays, compared by identity for speed.

    A closure as a pytree is compared by the source text of its function, which takes 1 ms.
    """

    def __init__(self, parts: Hashable):
        self.parts = parts


@functools.lru_cache(maxsize=256)
def _find_rest(parts: Hashable) -> _Rest:
    """Return the unique `_Rest` of these parts."""
    return _Rest(parts)


AnyOptimizer: TypeAlias = AbstractOptimizer | optax.GradientTransformation


def as_optimizer(optimizer: AnyOptimizer) -> AbstractOptimizer:
    """Return an optimizer as it is, and an optax transformation as an optimizer.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(optimizer, AbstractOptimizer):
        return optimizer
    if isinstance(optimizer, eqx.Module) or not (
        hasattr(optimizer, "init") and hasattr(optimizer, "update")
    ):
        raise TypeError(
            "optimizer must be an optax transformation such as optax.adam(0.01), or "
            f"plenoptax.lbfgs(), got {type(optimizer).__name__}."
        )
    return OptaxOptimizer(optimizer)


def describe_optimizer(optimizer: AbstractOptimizer) -> str:
    """Describe an optimizer in words; an optax transformation as such."""
    is_of_optax = isinstance(optimizer, OptaxOptimizer)
    return in_words(optimizer.transformation if is_of_optax else optimizer)


def _as_pytree(function: Callable) -> PyTree:
    # Building an optimizer again creates a new closure object; as pytrees, the two are equal.
    try:
        return eqxi.closure_to_pytree(function)
    except ValueError:
        # Some closures of optax have variables without a value, which a pytree cannot hold.
        return function


def _nodes(state: PyTree, kinds: type | tuple[type, ...]) -> list:
    """Return the parts of a state that have some types."""

    def is_one(node: PyTree) -> bool:
        return isinstance(node, kinds)

    return [node for node in jax.tree.leaves(state, is_leaf=is_one) if is_one(node)]


def _find_schedules(part: PyTree) -> list[Callable]:
    """Return the schedules in the closure of an update, in order."""
    function, variables = open_closure(part)
    if function is None:
        return []
    if function.__qualname__ == "scale_by_schedule.<locals>.update_fn":
        return [variables["step_size_fn"]]
    parts = jax.tree.leaves([*variables.values()], is_leaf=lambda p: bool(open_closure(p)[0]))
    return sum(map(_find_schedules, parts), [])


def _without_learned(fresh: PyTree, old: PyTree) -> PyTree:
    """Return the old state, with the learned parts replaced by those of the fresh state."""

    def choose(fresh: PyTree, old: PyTree) -> PyTree:
        if isinstance(old, _WITH_HYPERPARAMETERS):
            inner = _without_learned(fresh.inner_state, old.inner_state)
            return fresh._replace(inner_state=inner)
        return fresh if isinstance(old, _LEARNED) else old

    def is_leaf(node: PyTree) -> bool:
        return isinstance(node, _LEARNED + _WITH_HYPERPARAMETERS)

    return jax.tree.map(choose, fresh, old, is_leaf=is_leaf)


class AMSGradState(NamedTuple):
    """The state of `amsgrad`.

    Attributes:
        count: The number of steps taken.
        mu: The first moment of the gradient.
        root: The square root of the second moment; the moment itself can be out of range.
        root_max: The largest root so far.
    """

    count: Int[Array, ""]
    mu: PyTree
    root: PyTree
    root_max: PyTree


def amsgrad(
    learning_rate: float | Scalar | Callable,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Build Adam with step lengths that never grow, and the bias correction of torch.

    A step is divided by the root of the largest second moment so far. `optax.amsgrad` takes the
    largest moment after the bias correction. Early gradients, which the correction enlarges most,
    then limit the steps permanently: after 500 steps, the loss of a metamer of a linear model is
    several times higher. Here, as in torch, the largest moment is taken first and corrected
    afterwards, so the default optimizers of plenoptic and plenoptax take the same steps.

    Args:
        learning_rate: The length of the first step in each pixel, or an optax schedule. With
            `optax.inject_hyperparams` make the other arguments static: ``static_args=("b1", "b2",
            "eps")``.
        b1: The decay of the first moment, at least 0 and below 1.
        b2: The decay of the second moment, at least 0 and below 1.
        eps: A constant added to the root of the second moment, so that a zero gradient makes no
            step. It has the unit of the gradient: elements smaller than it make shorter steps, as
            in torch.

    Returns:
        An optax transformation.

    Raises:
        ValueError: If the learning rate is not positive, a decay is below 0 or not below 1, or
            `eps` is negative.

    References:
        Reddi, Kale, Kumar, "On the convergence of Adam and beyond", ICLR 2018.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import plenoptax as plx
        >>> optimizer = plx.amsgrad(0.01)
        >>> x = jnp.array([1.0, -2.0])
        >>> updates, state = optimizer.update(3 * x, optimizer.init(x))
        >>> [f"{value:.2f}" for value in optax.apply_updates(x, updates)]
        ['0.99', '-1.99']
    """

    # Not with the decorator, because `optax.inject_hyperparams` would make it part of the
    # optimizer.
    learning_rate = Real(above=0, schedule=True)("learning_rate", learning_rate)
    b1, b2 = (Real(at_least=0, below=1)(*pair) for pair in (("b1", b1), ("b2", b2)))
    eps = NOT_NEGATIVE("eps", eps)

    def init(params: PyTree) -> AMSGradState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AMSGradState(jnp.zeros((), jnp.int32), zeros, zeros, zeros)

    def update(
        updates: PyTree, state: AMSGradState, params: PyTree | None = None
    ) -> tuple[PyTree, AMSGradState]:
        del params
        count = jnp.asarray(state.count) + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        root = jax.tree.map(
            lambda r, g: jnp.hypot(math.sqrt(b2) * r, math.sqrt(1 - b2) * g), state.root, updates
        )
        root_max = jax.tree.map(jnp.maximum, state.root_max, root)

        def direction(m: Array, r: Array) -> Array:
            r = r / jnp.sqrt(_share_seen(b2, count, r.dtype))
            return m / _share_seen(b1, count, m.dtype) / (r + eps)

        return jax.tree.map(direction, mu, root_max), AMSGradState(count, mu, root, root_max)

    return optax.chain(
        optax.GradientTransformation(init, update),  # pyright: ignore[reportArgumentType]
        optax.scale_by_learning_rate(learning_rate),
    )


def _share_seen(decay: float, count: Int[Array, ""], dtype: jnp.dtype) -> Scalar:
    """Compute ``1 - decay**count``, with full relative precision even for small counts."""
    return -jnp.expm1(count.astype(dtype) * (math.log(decay) if decay else -math.inf))
