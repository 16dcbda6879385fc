"""Half precision: computed in float32, or rejected.

Sums of squares, variances and divisions by small constants lose all accuracy in the 8 or 11
significant bits of bfloat16 and float16. So plenoptax computes nothing in them.
"""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ._types import PyTree


Function = TypeVar("Function", bound=Callable)

_HALF = frozenset(map(jnp.dtype, ("float16", "bfloat16")))
_NOTE = (
    "Arguments in float16 or bfloat16 are converted to float32 first, and the result is rounded to "
    "their precision."
)


def in_single_precision(*names: str) -> Callable[[Function], Function]:
    """Decorate a function to compute in float32 if its arguments are in half precision.

    The result is rounded to the half precision of the arguments; complex numbers stay complex64,
    because they have no half precision. The docstring gets a sentence about this. Arguments of
    other precisions reach the function unchanged.

    Args:
        names: The arguments that determine the precision, arrays or trees of arrays. The others
            follow.

    Raises:
        TypeError: When the function is called, if one of these arguments is in half precision and
            another real one has a different dtype.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not any(map(is_half, _leaves((args, kwargs)))):
                return function(*args, **kwargs)
            given = signature.bind(*args, **kwargs).arguments
            dtypes = _floating_dtypes([given.get(name) for name in names])
            if _HALF.isdisjoint(dtypes):
                return function(*args, **kwargs)
            if len(dtypes) > 1:
                raise TypeError(
                    f"{' and '.join(names)} must have the same dtype, got "
                    f"{' and '.join(map(str, dtypes))}. Convert them to one precision, such as "
                    ".astype(jnp.float32)."
                )
            args, kwargs = to_single((args, kwargs))
            return _map(lambda leaf: _round(leaf, dtypes[0]), function(*args, **kwargs))

        wrapped.__doc__ = _with_note(function.__doc__)
        return wrapped  # pyright: ignore[reportReturnType]

    return decorate


def to_single(tree: PyTree) -> PyTree:
    """Convert the arrays of a tree that are in half precision to float32."""
    return _map(lambda leaf: jnp.asarray(leaf, jnp.float32) if is_half(leaf) else leaf, tree)


def refuse_half(what: str, dtype: DTypeLike) -> None:
    """Raise an error for half precision, where it cannot work.

    Raises:
        TypeError: If the dtype is float16 or bfloat16.
    """
    if jnp.dtype(dtype) in _HALF:
        raise TypeError(
            f"{what} must be in float32 or float64, got {jnp.dtype(dtype)}, which rounds off "
            "differences and steps of the usual sizes. Convert with .astype(jnp.float32)."
        )


def is_half(leaf: Any) -> bool:
    """Return whether a leaf of a tree is an array in half precision."""
    return getattr(leaf, "dtype", None) in _HALF


def _map(function: Callable, tree: PyTree) -> PyTree:
    """Map over a tree in which dictionaries may have keys that JAX cannot sort."""

    def visit(node: Any) -> Any:
        if _is_dictionary(node):
            return {key: _map(function, value) for key, value in node.items()}
        return function(node)

    return jax.tree.map(visit, tree, is_leaf=_is_dictionary)


def _leaves(tree: PyTree) -> list[Any]:
    leaves = []
    for node in jax.tree.leaves(tree, is_leaf=_is_dictionary):
        leaves += _leaves(list(node.values())) if _is_dictionary(node) else [node]
    return leaves


def _is_dictionary(node: Any) -> bool:
    return type(node) is dict


def _floating_dtypes(tree: PyTree) -> list[Any]:
    """Return the different dtypes of the real arrays of a tree, in order."""
    dtypes = [leaf.dtype for leaf in _leaves(tree) if hasattr(leaf, "dtype")]
    return list(dict.fromkeys(dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)))


def _round(leaf: Any, dtype: DTypeLike) -> Any:
    is_single = getattr(leaf, "dtype", None) == jnp.float32
    return leaf.astype(dtype) if is_single else leaf


def _with_note(docstring: str | None) -> str | None:
    """Put the sentence on half precision before the first section of a docstring."""
    if docstring is None:
        return None
    parts = re.split(r"\n\n(?=[A-Z]\w+:\n)", inspect.cleandoc(docstring), maxsplit=1)
    return "\n\n".join([parts[0], _NOTE, *parts[1:]])
