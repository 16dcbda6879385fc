"""What a model, a loss or a metric may say of itself, looked up by name."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx


T = TypeVar("T", bound=Callable)


def inside(part: Any) -> Any:
    """The function within a partial or a compiled function; None within anything else."""
    if isinstance(part, functools.partial | eqx.Partial):
        return part.func
    return getattr(part, "__wrapped__", None)


def answer(part: Any, name: str, default: Any = None) -> Any:
    """An optional attribute or method of a part, or of what is wrapped in it.

    Args:
        part: A model, a loss or a metric.
        name: The attribute.
        default: Returned where there is no such attribute, or it is None.
    """
    while part is not None:
        found = getattr(part, name, None)
        if found is not None:
            return found
        part = inside(part)
    return default


def name_of(part: Any) -> str:
    """What a model or a metric is called: the name of the function, or of the class."""
    while (inner := inside(part)) is not None:
        part = inner
    return getattr(part, "__name__", type(part).__name__)


def cites(entry: str) -> Callable[[T], T]:
    """Attach the paper behind a function or a class to it, as its ``citation``.

    Args:
        entry: In BibTeX.
    """

    def attach(part: T) -> T:
        part.citation = entry  # pyright: ignore[reportFunctionMemberAccess]
        return part

    return attach


def citations(*entries: Any) -> str:
    """The BibTeX entries among what parts have as ``citation``, each once."""
    return "\n\n".join(dict.fromkeys(entry for entry in entries if isinstance(entry, str)))
