from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from ._types import PyTree, Scalar


def tree_where(condition: Bool[Array, ""], if_true: PyTree, if_false: PyTree) -> PyTree:
    """Choose between two trees of the same structure by one scalar condition."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Return whether all elements are finite."""
    finite = jnp.ones((), bool)
    for leaf in jax.tree.leaves(tree):
        finite &= jnp.all(jnp.isfinite(leaf))
    return finite


def largest_magnitude(tree: PyTree) -> Scalar:
    """Return the largest absolute value of all elements; NaN if one of them is NaN."""
    magnitudes = jax.tree.map(lambda leaf: jnp.max(jnp.abs(leaf), initial=0), tree)
    return jnp.asarray(optax.tree.max(magnitudes))


def norm(tree: PyTree) -> Scalar:
    """Return the Euclidean norm of all elements, even if their squares overflow or underflow."""
    largest = largest_magnitude(tree)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return scale * optax.tree.norm(jax.tree.map(lambda leaf: leaf / scale, tree))


def strong(tree: PyTree) -> PyTree:
    """Convert all leaves to arrays and strip weak types.

    A Python number or a weakly typed leaf changes its type after one step, so JAX traces twice.
    """
    arrays = jax.tree.map(jnp.asarray, tree)
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), arrays)


def cast_like(tree: PyTree, like: PyTree) -> PyTree:
    """Cast arrays to the dtypes of another tree, because JAX traces again if types change."""
    return jax.tree.map(lambda leaf, other: jnp.asarray(leaf, other.dtype), tree, like)


def flatten_real(tree: PyTree, dtype: jnp.dtype) -> Float[Array, " numbers"]:
    """Flatten a tree to one real vector; complex leaves give their real and imaginary parts."""
    leaves = map(jnp.asarray, jax.tree.leaves(tree))
    parts = [[x.real, x.imag] if jnp.iscomplexobj(x) else [x] for x in leaves]
    return jnp.concatenate([jnp.ravel(part).astype(dtype) for part in sum(parts, [])])


def leaves_by_path(tree: PyTree) -> dict[str, Any]:
    """Return the arrays of a tree by their paths, such as ``.optimizer_state[0].mu``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if is_array(leaf)}


def name_leaf(path: Any) -> str:
    """Return the name of an array of a representation, such as that of a layer, given its path."""
    return jax.tree_util.keystr(path, simple=True, separator="/") or "representation"


def is_array(leaf: object) -> bool:
    """Return whether a leaf is an array; NumPy arrays count, because they are not hashable."""
    return isinstance(leaf, np.ndarray) or eqx.is_array(leaf)


def describe(leaf: Any) -> str:
    """Return the dtype and shape of an array in the form ``float32[1, 256, 256]``."""
    return f"{leaf.dtype}{list(leaf.shape)}"


def check_alike(
    given: Mapping[str, Any], wanted: Mapping[str, Any], say: Callable[[str], str]
) -> None:
    """Raise an error that names the first path where two trees differ in shape or dtype.

    Args:
        given: The given leaves, by path.
        wanted: The expected leaves, by path.
        say: Formats the error message from the mismatch.

    Raises:
        ValueError: If the two are not alike.
    """
    for path, leaf in wanted.items():
        if path not in given:
            raise ValueError(say(f"leaf {path} must be {describe(leaf)}, got no such leaf"))
        found = describe(given[path])
        if found != describe(leaf):
            raise ValueError(say(f"leaf {path} must be {describe(leaf)}, got {found}"))
    for path, leaf in given.items():
        if path not in wanted:
            raise ValueError(say(f"leaf {path} must not exist, got {describe(leaf)}"))
