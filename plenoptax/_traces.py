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
    """Trace a user's function with JAX, without computing it.

    The arrays of a module are the first arguments of the jaxpr, as in its compiled programs.

    Args:
        what: The name of the function in a message.
        function: A function from arrays to an array or a tree of arrays.
        *arguments: The shapes and dtypes of its arguments.

    Raises:
        TypeError: If the function returns something else.
        ValueError: If the function leaves JAX.
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
            f"{what} must stay within JAX to be differentiated, got code that leaves it. Use "
            "jax.numpy instead of NumPy, and jax.lax.cond or jax.numpy.where for decisions about "
            f"values. JAX says: {str(error).splitlines()[0]}"
        ) from error
    except RuntimeError as error:
        if "requires a key" not in str(error):
            raise
        # What Equinox says of dropout.
        raise ValueError(_say_stochastic(what, "a layer that asks for a random key")) from error


def _say_stochastic(what: str, given: str) -> str:
    return (
        f"{what} must not be stochastic, got {given}. Fix its randomness: draw it once and store "
        "it in the model, or switch dropout off (eqx.nn.inference_mode)."
    )


def _arrays(what: str, output: PyTree) -> PyTree:
    leaves = jax.tree.leaves(output)
    wrong = [leaf for leaf in leaves if not (is_array(leaf) or isinstance(leaf, Tracer))]
    if wrong or not leaves:
        found = type(wrong[0]).__name__ if wrong else "nothing"
        raise TypeError(f"{what} must return an array or a tree of arrays, got {found}.")
    return output


def check_program(
    what: str, function: Callable, *arguments: PyTree, check: Callable[[Any], None]
) -> Any:
    """Trace a function with JAX: once if its jaxpr is known, else twice, and check it.

    Programs are compiled once for each function, so a change of the function would go unnoticed.

    Args:
        what: The name of the function in a message.
        function: A function from arrays to an array or a tree of arrays.
        *arguments: The shapes and dtypes of its arguments.
        check: A function of a new jaxpr that raises an error if it cannot be used.

    Returns:
        The jaxpr.

    Raises:
        TypeError: As for `trace`; or if the function has no hash, which identifies its compiled
            programs.
        ValueError: As for `trace`; or if two calls with the same arguments compute different
            things, or a known function computes something else than before.
    """
    traced = trace(what, function, *arguments)
    known, digest = _known_of(what, function, traced), digest_program(traced)
    if known.get("digest") == digest:
        return traced
    if digest_program(trace(what, function, *arguments)) != digest:
        given = "two calls with the same image that compute different things"
        raise ValueError(_say_stochastic(what, given))
    if known:
        raise ValueError(
            f"{what} must compute the same as at its first use, got another computation: a "
            "variable or an attribute that it reads has changed, but its compiled programs have "
            "not. Define the function again, or make an Equinox module whose fields hold the "
            "changing values as arrays."
        )
    check(traced)
    known["digest"] = digest
    return traced


def _known_of(what: str, function: Callable, traced: Any) -> dict[str, bytes]:
    """Return the record of a jaxpr, found by what makes compiled programs equal."""
    # Constants traced by JAX, such as the parameters of a model in a batch of models, have no
    # values.
    if any(isinstance(constant, Tracer) for constant in traced.consts):
        return {}
    leaves, treedef = jax.tree.flatten(eqx.filter(function, is_array, inverse=True))
    # 1 and 1.0 are equal, but may give different programs.
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
            f"{what} must have a hash, which identifies its compiled programs, got a "
            f"{type(function).__name__} without one. Make it an equinox.Module whose static fields "
            "have a hash, or a dataclass with eq=False."
        ) from error


@functools.lru_cache(maxsize=64)
def _known(*key: Hashable) -> dict[str, bytes]:
    """Return the cache of first-trace digests, one dict per function."""
    return {}


def digest_program(traced: Any) -> bytes:
    """Return a hash of a jaxpr and of the constants in it."""
    digest = hashlib.blake2b(str(traced.jaxpr).encode())
    for constant in traced.consts:
        if not isinstance(constant, Tracer):
            digest.update(np.ascontiguousarray(_plain(constant)).tobytes())
    return digest.digest()


def _plain(constant: Any) -> np.ndarray:
    if jnp.issubdtype(getattr(constant, "dtype", np.dtype(float)), jax.dtypes.prng_key):
        constant = jax.random.key_data(constant)
    return np.asarray(constant)
