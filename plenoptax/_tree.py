from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from ._types import PyTree


def tree_where(condition: Bool[Array, ""], if_true: PyTree, if_false: PyTree) -> PyTree:
    """Choose between two trees of the same structure by one scalar condition."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def strong(tree: PyTree) -> PyTree:
    """Strip weak types: a weakly typed leaf of a state changes type after one step, which traces twice."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), tree)


def leaves_by_path(tree: PyTree) -> dict[str, Array]:
    """The array leaves of a tree by the path that leads to them, such as ``.optimizer_state[0].mu``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if is_array(leaf)}


def is_array(leaf: object) -> bool:
    """Whether a leaf holds data; NumPy arrays in a user's model count, since they cannot be hashed."""
    return isinstance(leaf, np.ndarray) or eqx.is_array(leaf)


def describe(leaf: object) -> str:
    """The dtype and shape of an array, as a person writes them: ``float32[1, 256, 256]``."""
    return f"{leaf.dtype}{list(leaf.shape)}"  # pyright: ignore[reportAttributeAccessIssue]


def check_alike(given: dict[str, object], wanted: dict[str, object], say: Callable[[str], str]) -> None:
    """Refuse trees whose paths, shapes or dtypes differ, naming the first path that does.

    Args:
        given: The leaves that came, by path.
        wanted: The leaves that should have come, by path.
        say: Makes the message out of the sentence that names the path.

    Raises:
        ValueError: If the two are not alike.
    """
    for path in wanted:
        if path not in given:
            raise ValueError(say(f"it has no leaf {path} ({describe(wanted[path])} is wanted)"))
        if describe(given[path]) != describe(wanted[path]):
            raise ValueError(
                say(f"leaf {path} is {describe(given[path])}, but {describe(wanted[path])} is wanted")
            )
    for path in given:
        if path not in wanted:
            raise ValueError(say(f"it has a leaf {path} ({describe(given[path])}) that is not wanted"))
