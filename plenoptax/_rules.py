"""Rules for numbers given by users, declared once for each argument."""

import abc
import dataclasses
import functools
import inspect
import operator
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._replaced import ARGUMENTS


Function = TypeVar("Function", bound=Callable)


class _AbstractRule(abc.ABC):
    @abc.abstractmethod
    def __call__(self, name: str, value: Any) -> Any:
        """Return the value in the form that the function takes; raise a ValueError if invalid."""

    def of(self, name: str) -> Callable[[Any], Any]:
        """Return the rule as a converter for a field of that name."""
        return functools.partial(self, name)


@dataclasses.dataclass(frozen=True)
class Whole(_AbstractRule):
    """A whole number of Python, NumPy or JAX, but not a boolean, and not a float.

    Attributes:
        at_least: The smallest number allowed; None for any.
        several: Whether a sequence of whole numbers is also allowed; it becomes a tuple.
        words: Strings that are also allowed.
    """

    at_least: int | None = None
    several: bool = False
    words: tuple[str, ...] = ()

    def __call__(self, name: str, value: Any) -> Any:
        """Return the number as a Python integer.

        Raises:
            ValueError: If it breaks the rule.
        """
        if isinstance(value, str) and value in self.words:
            return value
        if self.several and not isinstance(value, str) and np.ndim(value) == 1:
            return tuple(as_whole_number(name, one, at_least=self.at_least) for one in value)
        return as_whole_number(name, value, at_least=self.at_least)


@dataclasses.dataclass(frozen=True)
class Real(_AbstractRule):
    """A real number or an array of them, not a boolean. Values traced by JAX are not checked.

    Attributes:
        above: The bound that all numbers must exceed.
        at_least: The smallest number allowed.
        below: The bound that all numbers must be smaller than.
        at_most: The largest number allowed.
        finite: Whether infinities are rejected; NaN always is.
        words: Strings that are also allowed.
        schedule: Whether a function of the number of steps is also allowed.
    """

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    finite: bool = True
    words: tuple[str, ...] = ()
    schedule: bool = False

    def __call__(self, name: str, value: Any) -> Any:
        """Return the number as it is; a NumPy scalar as a Python number.

        Raises:
            ValueError: If it breaks the rule.
        """
        is_word = isinstance(value, str) and value in self.words
        is_traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))
        if is_word or is_traced or (self.schedule and callable(value)):
            return value
        if not self._allows(value):
            raise ValueError(f"{name} must be {self._describe()}, got {value!r}.")
        return value.item() if isinstance(value, np.generic) else value

    def _allows(self, value: Any) -> bool:
        try:
            numbers = np.asarray(value)
        except (TypeError, ValueError):
            return False
        kinds = (np.integer, np.floating)
        if not any(jnp.issubdtype(numbers.dtype, kind) for kind in kinds):
            return False
        # Each comparison is false for NaN.
        return bool(
            np.all(np.isfinite(numbers) if self.finite else ~np.isnan(numbers))
            and (self.above is None or np.all(numbers > self.above))
            and (self.at_least is None or np.all(numbers >= self.at_least))
            and (self.below is None or np.all(numbers < self.below))
            and (self.at_most is None or np.all(numbers <= self.at_most))
        )

    def _describe(self) -> str:
        limits = {
            "above": self.above,
            "at least": self.at_least,
            "below": self.below,
            "at most": self.at_most,
        }
        parts = [f"{word} {limit:g}" for word, limit in limits.items() if limit is not None]
        number = " ".join(["a finite number" if self.finite else "a number", " and ".join(parts)])
        words = [repr(word) for word in self.words] + ["a schedule"] * self.schedule
        return " or ".join([number.strip(), *words])


def _takes_none(parameter: inspect.Parameter) -> bool:
    return type(None) in typing.get_args(parameter.annotation)


INDEX, STEPS, COUNT = Whole(), Whole(0), Whole(1)
SIZES = Whole(1, several=True)
NUMBER, POSITIVE, NOT_NEGATIVE = Real(), Real(above=0), Real(at_least=0)


def checked(**rules: Whole | Real) -> Callable[[Function], Function]:
    """Decorate a function to check its number arguments before it runs.

    Whole numbers reach it as Python integers, NumPy real numbers as Python numbers. None passes if
    the annotation allows it.

    Args:
        rules: The rule of each argument, by name.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        optional = [name for name in rules if _takes_none(signature.parameters[name])]

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                given = signature.bind_partial(*args, **kwargs)
            except TypeError:
                for name in ARGUMENTS.keys() & kwargs.keys() - signature.parameters.keys():
                    raise TypeError(
                        f"{function.__name__} must be called with arguments of plenoptax, got "
                        f"{name} of plenoptic. Use {ARGUMENTS[name]}."
                    ) from None
                # Python's own message names the function.
                return function(*args, **kwargs)
            for name in rules.keys() & given.arguments.keys():
                value = given.arguments[name]
                if not (value is None and name in optional):
                    given.arguments[name] = rules[name](name, value)
            return function(*given.args, **given.kwargs)

        wrapped.rules = rules  # pyright: ignore[reportAttributeAccessIssue]
        return wrapped  # pyright: ignore[reportReturnType]

    return decorate


def check_key(key: Any) -> None:
    """Raise an error unless an argument is one random key, or a traced one."""
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(f"key must be a key such as jax.random.key(0), got {key!r}.")
    is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if key.ndim != (0 if is_typed else 1):
        raise ValueError(
            f"key must be one key, got an array of keys of shape {key.shape}. Give one of them, or "
            "num_seeds= for several syntheses."
        )


def as_whole_number(name: str, value: Any, *, at_least: int | None) -> int:
    """Return a whole number as a Python integer; NumPy and JAX integers pass, floats do not.

    Args:
        name: The name of the number in a message.
        value: The given value.
        at_least: The smallest number allowed; None for any.

    Raises:
        ValueError: If it is not a whole number, or too small.
    """
    # Booleans have an index, but users do not mean a number by them.
    is_boolean = isinstance(value, bool)
    try:
        number = None if is_boolean else operator.index(value)
    except TypeError:
        number = None
    if number is None or (at_least is not None and number < at_least):
        limit = "" if at_least is None else f", at least {at_least}"
        raise ValueError(f"{name} must be a whole number{limit}, got {value!r}.")
    return number


def say_how_to_fit(values: tuple[float, float], allowed: tuple[float, float]) -> str:
    """Return advice on an image that leaves a range, for the end of a message.

    Args:
        values: The lowest and the highest value of the image.
        allowed: The range.
    """
    low, high = allowed
    overshoot = max(low - values[0], values[1] - high)
    # Resampling overshoots by less than a quarter of the height of an edge.
    if overshoot <= (high - low) / 4:
        return f"clip it (jnp.clip(image, {low:g}, {high:g}) moves values by up to {overshoot:.2g})"
    if values[0] > low - (values[1] - low) / 4:
        clipped = " and clip what is still outside" if values[0] < low else ""
        return f"divide it by its range (255 for 8 bits){clipped}"
    return "shift and scale it into the range"
