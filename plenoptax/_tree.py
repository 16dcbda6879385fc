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
    """Whether all elements are finite."""
    finite = jnp.ones((), bool)
    for leaf in jax.tree.leaves(tree):
        finite &= jnp.all(jnp.isfinite(leaf))
    return finite


def largest_magnitude(tree: PyTree) -> Scalar:
    """The largest absolute value of all elements; not a number where one of them is not."""
    magnitudes = jax.tree.map(lambda leaf: jnp.max(jnp.abs(leaf), initial=0), tree)
    return jnp.asarray(optax.tree.max(magnitudes))


def norm(tree: PyTree) -> Scalar:
    """The Euclidean norm of all elements. Their squares may be out of the range of their dtype."""
    largest = largest_magnitude(tree)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return scale * optax.tree.norm(jax.tree.map(lambda leaf: leaf / scale, tree))


def strong(tree: PyTree) -> PyTree:
    """Make arrays of all leaves and strip weak types.

    A number of Python or a weakly typed leaf changes its type after one step, which traces twice.
    """
    arrays = jax.tree.map(jnp.asarray, tree)
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), arrays)


def cast_like(tree: PyTree, like: PyTree) -> PyTree:
    """Arrays of the dtypes of another tree: a state that changes its types is traced again."""
    return jax.tree.map(lambda leaf, other: jnp.asarray(leaf, other.dtype), tree, like)


def flatten_real(tree: PyTree, dtype: jnp.dtype) -> Float[Array, " numbers"]:
    """All numbers of a tree as one vector; complex ones count as their real and imaginary parts."""
    leaves = map(jnp.asarray, jax.tree.leaves(tree))
    parts = [[x.real, x.imag] if jnp.iscomplexobj(x) else [x] for x in leaves]
    return jnp.concatenate([jnp.ravel(part).astype(dtype) for part in sum(parts, [])])


def leaves_by_path(tree: PyTree) -> dict[str, Any]:
    """The arrays of a tree by the path that leads to them, such as ``.optimizer_state[0].mu``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if is_array(leaf)}


def is_array(leaf: object) -> bool:
    """Whether a leaf holds data; NumPy arrays of a user's model do, for they cannot be hashed."""
    return isinstance(leaf, np.ndarray) or eqx.is_array(leaf)


def describe(leaf: Any) -> str:
    """The dtype and shape of an array, as a person writes them: ``float32[1, 256, 256]``."""
    return f"{leaf.dtype}{list(leaf.shape)}"


def check_alike(
    given: Mapping[str, Any], wanted: Mapping[str, Any], say: Callable[[str], str]
) -> None:
    """Refuse trees whose paths, shapes or dtypes differ, naming the first path that does.

    Args:
        given: The leaves that came, by path.
        wanted: The leaves that should have come, by path.
        say: Makes the message out of the sentence that names the path.

    Raises:
        ValueError: If the two are not alike.
    """
    for path, leaf in wanted.items():
        if path not in given:
            raise ValueError(say(f"it has no leaf {path} ({describe(leaf)} is wanted)"))
        found = describe(given[path])
        if found != describe(leaf):
            raise ValueError(say(f"leaf {path} is {found}, but {describe(leaf)} is wanted"))
    for path, leaf in given.items():
        if path not in wanted:
            raise ValueError(say(f"it has a leaf {path} ({describe(leaf)}) that is not wanted"))
