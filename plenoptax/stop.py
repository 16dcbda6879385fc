"""Rules that say when a synthesis has stopped making progress.

A rule is a small Module: its tolerance is an array (changing it recompiles nothing), its window is
static, and what it remembers lives in the state of the synthesis, so that a resumed run stops where
an uninterrupted one would have. Rules are combined with ``|``. A rule that fires says that the
synthesis is on a plateau, never that it has succeeded.
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

    Only accepted steps are shown to a rule: the rejected trials of a line search say nothing about
    progress.
    """

    @abc.abstractmethod
    def init(self, dtype: jnp.dtype) -> PyTree:
        """What the rule remembers before the first step; `dtype` is that of the loss."""

    @abc.abstractmethod
    def update(self, state: PyTree, info: PyTree) -> PyTree:
        """What the rule remembers after one more accepted step.

        Args:
            state: What it remembers.
            info: The step's report, of which `loss` and `pixel_change_norm` matter here.
        """

    @abc.abstractmethod
    def fires(self, state: PyTree) -> Bool[Array, ""]:
        """Whether the synthesis should stop, by what the rule remembers."""

    def __or__(self, other: "AbstractStop") -> "AnyOf":
        return AnyOf(self, other)


@final
class Window(eqx.Module):
    """The last few values of a series.

    Attributes:
        values: A ring buffer.
        count: How many values have ever come.
    """

    values: Float[Array, " window"]
    count: Int[Array, ""]

    def push(self, value: Scalar) -> "Window":
        """The window one value later."""
        value = jnp.asarray(value, self.values.dtype)
        return Window(self.values.at[self.count % self.values.size].set(value), self.count + 1)

    @property
    def newest(self) -> Scalar:
        """The value that came last."""
        return self.values[(self.count - 1) % self.values.size]

    @property
    def oldest(self) -> Scalar:
        """The value that is `window - 1` values older than the newest."""
        return self.values[self.count % self.values.size]

    @property
    def more_than_full(self) -> Bool[Array, ""]:
        """Whether more values have come than the window holds."""
        return self.count > self.values.size


class _AbstractWindowStop(AbstractStop):
    window: eqx.AbstractVar[int]
    watched: eqx.AbstractClassVar[str]

    def init(self, dtype: jnp.dtype) -> Window:
        """See `AbstractStop.init`."""
        return Window(jnp.zeros((self.window,), dtype), jnp.zeros((), jnp.int32))

    def update(self, state: Window, info: PyTree) -> Window:
        """See `AbstractStop.update`."""
        return state.push(getattr(info, self.watched))


@final
class LossChange(_AbstractWindowStop):
    """Stop when the loss has changed by less than a tolerance over a window of accepted steps.

    Fires once more than `window` losses have come and ``abs(losses[-window] - losses[-1])``, a
    difference over `window - 1` steps, is below the tolerance. This is plenoptic's rule.

    Attributes:
        tolerance: In units of the loss.
        window: In accepted steps.

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
        """See `AbstractStop.fires`."""
        change = jnp.abs(state.oldest - state.newest)
        return state.more_than_full & (change < self.tolerance.astype(change.dtype))


@final
class RelativeLossChange(_AbstractWindowStop):
    """Stop when the loss has changed by less than a fraction of itself over a window.

    As `LossChange`, with the difference divided by ``abs(losses[-window])``: the same tolerance
    serves losses of any scale.

    Attributes:
        tolerance: A fraction.
        window: In accepted steps.

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
        """See `AbstractStop.fires`."""
        change = jnp.abs(state.oldest - state.newest)
        limit = self.tolerance.astype(change.dtype) * jnp.abs(state.oldest)
        return state.more_than_full & (change < limit)


@final
class PixelChange(_AbstractWindowStop):
    """Stop when no step of a window has moved the image by more than a tolerance.

    Attributes:
        tolerance: The Euclidean norm of a step, in units of pixel values.
        window: In accepted steps.

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
        """See `AbstractStop.fires`."""
        small = state.values < self.tolerance.astype(state.values.dtype)
        return state.more_than_full & jnp.all(small)


@final
class Never(AbstractStop):
    """Run until the step limit.

    Example:
        >>> from plenoptax.stop import Never
        >>> Never()
        Never()
    """

    def init(self, dtype: jnp.dtype) -> None:
        """See `AbstractStop.init`."""

    def update(self, state: None, info: PyTree) -> None:
        """See `AbstractStop.update`."""

    def fires(self, state: None) -> Bool[Array, ""]:
        """See `AbstractStop.fires`."""
        return jnp.zeros((), bool)


@final
class AnyOf(AbstractStop):
    """Stop when any of several rules fires; what ``rule | rule`` makes.

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
        """See `AbstractStop.init`."""
        return tuple(rule.init(dtype) for rule in self.rules)

    def update(self, state: tuple[PyTree, ...], info: PyTree) -> tuple[PyTree, ...]:
        """See `AbstractStop.update`."""
        pairs = zip(self.rules, state, strict=True)
        return tuple(rule.update(memory, info) for rule, memory in pairs)

    def fires(self, state: tuple[PyTree, ...]) -> Bool[Array, ""]:
        """See `AbstractStop.fires`."""
        pairs = zip(self.rules, state, strict=True)
        return jnp.any(jnp.stack([rule.fires(memory) for rule, memory in pairs]))
