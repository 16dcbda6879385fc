import functools
import hashlib
from collections.abc import Callable, Hashable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._tree import is_array
from ._types import PyTree


def trace(what: str, function: Callable, *arguments: PyTree) -> Any:
    """Write down what a user's function computes, without computing it.

    The arrays of a module are the first arguments of the program, as they are where it is compiled.

    Args:
        what: What to call the function in a message.
        function: From arrays to an array or a tree of arrays.
        *arguments: The shapes and dtypes of its arguments.

    Raises:
        TypeError: If it returns something else.
        ValueError: If it leaves JAX on the way.
    """
    arrays, rest = eqx.partition(function, is_array)
    write = jax.make_jaxpr(lambda arrays, *a: _arrays(what, eqx.combine(arrays, rest)(*a)))
    try:
        return write(arrays, *arguments)
    except (
        jax.errors.TracerArrayConversionError,
        jax.errors.ConcretizationTypeError,
        jax.errors.UnexpectedTracerError,
    ) as error:
        raise ValueError(
            f"{what} leaves JAX on the way, where it cannot be differentiated: use jax.numpy in "
            "place of NumPy, and jax.lax.cond or jax.numpy.where for decisions about values. "
            f"JAX says: {str(error).splitlines()[0]}"
        ) from error


def _arrays(what: str, output: PyTree) -> PyTree:
    leaves = jax.tree.leaves(output)
    wrong = [leaf for leaf in leaves if not (is_array(leaf) or isinstance(leaf, Tracer))]
    if wrong or not leaves:
        found = type(wrong[0]).__name__ if wrong else "nothing"
        raise TypeError(f"{what} returns an array or a tree of arrays; got {found}.")
    return output


def check_program(
    what: str, function: Callable, *arguments: PyTree, check: Callable[[Any], None]
) -> Any:
    """Trace a function, once if the program is known; else twice, and check what it computes.

    Programs are compiled once for each function: that it has changed would go unnoticed.

    Args:
        what: What to call the function in a message.
        function: See `trace`.
        *arguments: See there.
        check: Takes the trace of a new program; raises if it cannot be used.

    Returns:
        The trace.

    Raises:
        TypeError: As `trace`; or if the function has no hash, by which its programs are found
            again.
        ValueError: As `trace`; or if two calls with the same arguments compute different things, or
            the function is known and computes something else than before.
    """
    traced = trace(what, function, *arguments)
    known, digest = _known_of(what, function, traced), _digest(traced)
    if known.get("digest") == digest:
        return traced
    if _digest(trace(what, function, *arguments)) != digest:
        raise ValueError(
            f"{what} is stochastic: two calls with the same image compute different things. Fix "
            "its randomness: draw it once and hold it in the model, or switch dropout off "
            "(eqx.nn.inference_mode)."
        )
    if known:
        raise ValueError(
            f"{what} computes something else than when it was first used: a variable or an "
            "attribute that it reads has changed, and the programs that are compiled from it have "
            "not. Define the function anew, or make an Equinox module whose fields hold what "
            "changes, as arrays."
        )
    check(traced)
    known["digest"] = digest
    return traced


def _known_of(what: str, function: Callable, traced: Any) -> dict[str, bytes]:
    """What is known of a program, found by what makes compiled programs equal."""
    # What is traced itself, such as the parameters of a model in a batch of them, has no values.
    if any(isinstance(constant, Tracer) for constant in traced.consts):
        return {}
    leaves, treedef = jax.tree.flatten(eqx.filter(function, is_array, inverse=True))
    # 1 and 1.0 are equal, but may make other programs.
    choices = tuple((type(leaf), leaf) for leaf in leaves)
    settings = (
        jax.config.jax_enable_x64,  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.jax_default_matmul_precision,  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.jax_disable_jit,  # pyright: ignore[reportAttributeAccessIssue]
    )
    try:
        return _known(what, treedef, choices, tuple(traced.in_avals), settings)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{what} is a {type(function).__name__} without a hash, by which compiled programs are "
            "found again: make it an equinox.Module whose static fields have one, or a dataclass "
            "with eq=False."
        ) from error


@functools.lru_cache(maxsize=64)
def _known(*key: Hashable) -> dict[str, bytes]:
    """Where the digest of a program is kept."""
    return {}


def _digest(traced: Any) -> bytes:
    digest = hashlib.blake2b(str(traced.jaxpr).encode())
    for constant in traced.consts:
        if not isinstance(constant, Tracer):
            digest.update(np.ascontiguousarray(_plain(constant)).tobytes())
    return digest.digest()


def _plain(constant: Any) -> np.ndarray:
    if jnp.issubdtype(getattr(constant, "dtype", np.dtype(float)), jax.dtypes.prng_key):
        constant = jax.random.key_data(constant)
    return np.asarray(constant)
