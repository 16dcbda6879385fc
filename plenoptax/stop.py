"""Rules that stop a synthesis when it makes no more progress.

A rule is a small Module. Its tolerance is an array, so that changing it recompiles nothing. Its
window of steps is static. Its memory is part of the state of the synthesis, so that a resumed run
stops at the same step as an uninterrupted one. Rules are combined with ``|``. A rule that fires
says that the synthesis is on a plateau (it hardly changes any more), never that it has succeeded.
"""

import abc
from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._rules import checked, COUNT, Real
from ._types import PyTree, Scalar


class AbstractStop(eqx.Module):
    """A rule that watches the accepted steps of a synthesis.

    A rule sees accepted steps only: the rejected trials of a line search say nothing about
    progress.
    """

    @abc.abstractmethod
    def init(self, dtype: jnp.dtype) -> PyTree:
        """Return the memory of the rule before the first step; `dtype` is that of the loss."""

    @abc.abstractmethod
    def update(self, state: PyTree, info: PyTree) -> PyTree:
        """Return the memory of the rule after one more accepted step.

        Args:
            state: The memory before the step.
            info: The report of the step; the rules use its `loss` and `pixel_change_norm`.
        """

    @abc.abstractmethod
    def fires(self, state: PyTree) -> Bool[Array, ""]:
        """Return whether the synthesis should stop, given the memory of the rule."""

    def __or__(self, other: "AbstractStop") -> "AnyOf":
        return AnyOf(self, other)


@final
class Window(eqx.Module):
    """The last few values of a series.

    Attributes:
        values: A ring buffer.
        count: The number of values pushed so far.
    """

    values: Float[Array, " window"]
    count: Int[Array, ""]

    def push(self, value: Scalar) -> "Window":
        """Return the window with one more value."""
        value = jnp.asarray(value, self.values.dtype)
        return Window(self.values.at[self.count % self.values.size].set(value), self.count + 1)

    @property
    def newest(self) -> Scalar:
        """The newest value."""
        return self.values[(self.count - 1) % self.values.size]

    @property
    def oldest(self) -> Scalar:
        """The oldest value held, `window - 1` values older than the newest."""
        return self.values[self.count % self.values.size]

    @property
    def more_than_full(self) -> Bool[Array, ""]:
        """Whether more values were pushed than the window holds."""
        return self.count > self.values.size


class _AbstractWindowStop(AbstractStop):
    window: eqx.AbstractVar[int]
    watched: eqx.AbstractClassVar[str]

    def init(self, dtype: jnp.dtype) -> Window:
        """Return an empty window of values; see `AbstractStop.init`."""
        return Window(jnp.zeros((self.window,), dtype), jnp.zeros((), jnp.int32))

    def update(self, state: Window, info: PyTree) -> Window:
        """Add the watched value of a step to the window; see `AbstractStop.update`."""
        return state.push(getattr(info, self.watched))


@final
class LossChange(_AbstractWindowStop):
    """A rule that stops when the loss changes by less than a tolerance over a window of steps.

    It fires when it has seen more than `window` losses and ``abs(losses[-window] - losses[-1])``, a
    difference over `window - 1` accepted steps, is below the tolerance. This is plenoptic's rule.

    Attributes:
        tolerance: The tolerance, in units of the loss.
        window: The length of the window, in accepted steps.

    Example:
        >>> from plenoptax.stop import LossChange, PixelChange
        >>> rule = LossChange(1e-4, window=50) | PixelChange(1e-3, window=10)
        >>> len(rule.rules)
        2
    """

    tolerance: Scalar
    window: int = eqx.field(static=True)
    watched: ClassVar[str] = "loss"

    @checked(tolerance=Real(at_least=0, finite=False), window=COUNT)
    def __init__(self, tolerance: float | Scalar = 1e-4, window: int = 50):
        self.tolerance = jnp.asarray(tolerance, jnp.result_type(float))
        self.window = window

    def fires(self, state: Window) -> Bool[Array, ""]:
        """Return whether the loss changed by less than the tolerance."""
        change = jnp.abs(state.oldest - state.newest)
        return state.more_than_full & (change < self.tolerance.astype(change.dtype))


@final
class RelativeLossChange(_AbstractWindowStop):
    """A rule that stops when the loss changes by a small fraction of itself over a window of steps.

    It is `LossChange` with the difference divided by ``abs(losses[-window])``, so that the same
    tolerance suits losses of any scale.

    Attributes:
        tolerance: The tolerance, a fraction.
        window: The length of the window, in accepted steps.

    Example:
        >>> from plenoptax.stop import RelativeLossChange
        >>> RelativeLossChange(0.01, window=20).window
        20
    """

    tolerance: Scalar
    window: int = eqx.field(static=True)
    watched: ClassVar[str] = "loss"

    @checked(tolerance=Real(at_least=0, finite=False), window=COUNT)
    def __init__(self, tolerance: float | Scalar = 1e-3, window: int = 50):
        self.tolerance = jnp.asarray(tolerance, jnp.result_type(float))
        self.window = window

    def fires(self, state: Window) -> Bool[Array, ""]:
        """Return whether the relative change of the loss is below the tolerance."""
        change = jnp.abs(state.oldest - state.newest)
        limit = self.tolerance.astype(change.dtype) * jnp.abs(state.oldest)
        return state.more_than_full & (change < limit)


@final
class PixelChange(_AbstractWindowStop):
    """A rule that stops when every step in a window of steps moves the image very little.

    Attributes:
        tolerance: The Euclidean norm that every step stays below, in units of pixel values.
        window: The length of the window, in accepted steps.

    Example:
        >>> from plenoptax.stop import PixelChange
        >>> float(PixelChange(0.5).tolerance)
        0.5
    """

    tolerance: Scalar
    window: int = eqx.field(static=True)
    watched: ClassVar[str] = "pixel_change_norm"

    @checked(tolerance=Real(at_least=0, finite=False), window=COUNT)
    def __init__(self, tolerance: float | Scalar = 1e-4, window: int = 50):
        self.tolerance = jnp.asarray(tolerance, jnp.result_type(float))
        self.window = window

    def fires(self, state: Window) -> Bool[Array, ""]:
        """Return whether every step in the window moved the image by less than the tolerance."""
        small = state.values < self.tolerance.astype(state.values.dtype)
        return state.more_than_full & jnp.all(small)


@final
class Never(AbstractStop):
    """A rule that never fires: the synthesis runs until the step limit.

    Example:
        >>> from plenoptax.stop import Never
        >>> Never()
        Never()
    """

    def init(self, dtype: jnp.dtype) -> None:
        """Return None: this rule has no memory."""

    def update(self, state: None, info: PyTree) -> None:
        """Return None: this rule has no memory."""

    def fires(self, state: None) -> Bool[Array, ""]:
        """Return False."""
        return jnp.zeros((), bool)


@final
class AnyOf(AbstractStop):
    """A rule that stops when any of several rules fires; ``rule | rule`` makes one.

    Attributes:
        rules: The rules.

    Example:
        >>> from plenoptax.stop import AnyOf, LossChange, PixelChange
        >>> rule = AnyOf(LossChange(), PixelChange())
    """

    rules: tuple[AbstractStop, ...]

    def __init__(self, *rules: AbstractStop):
        self.rules = rules

    def init(self, dtype: jnp.dtype) -> tuple[PyTree, ...]:
        """Return the memories of all rules; see `AbstractStop.init`."""
        return tuple(rule.init(dtype) for rule in self.rules)

    def update(self, state: tuple[PyTree, ...], info: PyTree) -> tuple[PyTree, ...]:
        """Update the memories of all rules; see `AbstractStop.update`."""
        pairs = zip(self.rules, state, strict=True)
        return tuple(rule.update(memory, info) for rule, memory in pairs)

    def fires(self, state: tuple[PyTree, ...]) -> Bool[Array, ""]:
        """Return whether any of the rules fires."""
        pairs = zip(self.rules, state, strict=True)
        return jnp.any(jnp.stack([rule.fires(memory) for rule, memory in pairs]))
