"""Look-up of optional properties of a model, a loss or a metric, by name."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx


T = TypeVar("T", bound=Callable)


def inside(part: Any) -> Any:
    """Return the function inside a partial or a compiled function, else None."""
    if isinstance(part, functools.partial | eqx.Partial):
        return part.func
    return getattr(part, "__wrapped__", None)


def answer(part: Any, name: str, default: Any = None) -> Any:
    """Return an optional attribute or method of a part, or of the function inside it.

    Args:
        part: A model, a loss or a metric.
        name: The name of the attribute.
        default: The value to return if there is no such attribute, or it is None.
    """
    while part is not None:
        found = getattr(part, name, None)
        if found is not None:
            return found
        part = inside(part)
    return default


def name_of(part: Any) -> str:
    """Return the name of a model or a metric: that of the function, or of the class."""
    while (inner := inside(part)) is not None:
        part = inner
    return getattr(part, "__name__", type(part).__name__)


def cites(entry: str) -> Callable[[T], T]:
    """Attach a paper to a function or a class, as its ``citation``.

    Args:
        entry: The paper, in BibTeX.
    """

    def attach(part: T) -> T:
        part.citation = entry  # pyright: ignore[reportFunctionMemberAccess]
        return part

    return attach


def citations(*entries: Any) -> str:
    """Join the BibTeX entries among the ``citation`` values of parts, each once."""
    return "\n\n".join(dict.fromkeys(entry for entry in entries if isinstance(entry, str)))
