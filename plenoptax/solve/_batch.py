from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from .._types import PyTree
from ._problem import AbstractProblem


class Batched(eqx.Module):
    """Several problems that are minimized at once, each with its own loss, stop and status.

    Made by `batch`. Leaves that differ between the elements have a leading axis; the others, such
    as the parameters of a common model, are shared and never copied.

    Attributes:
        problem: The problems as one.
        is_mapped: Whether each leaf of `problem` has the leading axis, in the order of its leaves.
        size: How many problems there are.
    """

    problem: PyTree
    is_mapped: tuple[bool, ...] = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> AbstractProblem:
        """One of the problems."""
        if not -self.size <= index < self.size:
            raise IndexError(f"The batch has {self.size} elements; got index {index}.")
        return self._on_mapped(lambda leaf: leaf[index])

    def take(self, indices: np.ndarray) -> "Batched":
        """Some of the problems, as a smaller batch."""
        taken = self._on_mapped(lambda leaf: jnp.take(leaf, indices, axis=0))
        return Batched(taken, self.is_mapped, len(indices))

    def map(self, function: Callable, *arguments: PyTree) -> PyTree:
        """Call ``function(problem, *arguments)`` for each element of the arguments' first axis."""

        def one(mapped: list[Array], arguments: tuple[PyTree, ...]) -> PyTree:
            return function(self._with_mapped(mapped), *arguments)

        return jax.vmap(one, axis_size=self.size)(self._mapped(), arguments)

    def map_groups(self, size: int, function: Callable, *arguments: PyTree) -> PyTree:
        """Call ``function(batch, *arguments)`` for one group of elements after another.

        Args:
            size: Of a group; divides that of the batch.
            function: Takes a smaller batch, and the arguments' rows for its elements.
            *arguments: Trees of arrays with the batch as their first axis.

        Returns:
            What the function returns, with one more axis at the front, that of the groups.
        """

        def one(group: tuple[list[Array], tuple[PyTree, ...]]) -> PyTree:
            mapped, arguments = group
            return function(Batched(self._with_mapped(mapped), self.is_mapped, size), *arguments)

        def split(leaf: Array) -> Array:
            return leaf.reshape(self.size // size, size, *leaf.shape[1:])

        return jax.lax.map(one, jax.tree.map(split, (self._mapped(), arguments)))

    def map_shape(self, function: Callable) -> PyTree:
        """The shapes and dtypes of what `map` would return."""
        return eqx.filter_eval_shape(lambda batch: batch.map(function), self)

    def _mapped(self) -> list[Array]:
        leaves = jax.tree.leaves(self.problem)
        return [leaf for leaf, is_mapped in zip(leaves, self.is_mapped, strict=True) if is_mapped]

    def _with_mapped(self, mapped: list[Array]) -> PyTree:
        """The problem with other leaves in place of those that differ between the elements."""
        rest = iter(mapped)
        leaves, treedef = jax.tree.flatten(self.problem)
        together = zip(leaves, self.is_mapped, strict=True)
        return jax.tree.unflatten(treedef, [next(rest) if m else leaf for leaf, m in together])

    def _on_mapped(self, change: Callable[[Array], Array]) -> PyTree:
        return self._with_mapped([change(leaf) for leaf in self._mapped()])


def batch(make_problem: Callable[..., AbstractProblem], *arrays: PyTree) -> Batched:
    """Several problems that are minimized at once.

    Args:
        make_problem: Makes one problem of one element of each of the arrays.
        *arrays: Arrays, or trees of arrays, with the batch as their first axis.

    Returns:
        The batch. What `make_problem` does not compute from the arrays (a model's parameters, say)
        is shared between the elements.

    Raises:
        ValueError: If there is no array, or their first axes differ.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> model = plx.models.Gaussian(7)
        >>> images = jnp.stack([plx.data.brick(), plx.data.grass()])
        >>> problems = plx.batch(lambda image: plx.Metamer(image, model), images)
        >>> len(problems)
        2
    """
    sizes = {leaf.shape[0] if np.ndim(leaf) else None for leaf in jax.tree.leaves(arrays)}
    if len(sizes) != 1 or None in sizes:
        found = sorted(str(size) for size in sizes)
        raise ValueError(
            "A batch is made along the first axis of one or more arrays, which must have the same "
            f"length in all; got {', '.join(found) or 'no array'}."
        )
    size = jax.tree.leaves(arrays)[0].shape[0]
    found: list = []

    def make(elements: tuple[PyTree, ...]) -> list[Array]:
        leaves, treedef = jax.tree.flatten(make_problem(*elements))
        # Inside the map, only what was computed from the elements is being traced.
        is_mapped = tuple(isinstance(leaf, Tracer) for leaf in leaves)
        found.append((leaves, treedef, is_mapped))
        return [leaf for leaf, mapped in zip(leaves, is_mapped, strict=True) if mapped]

    mapped = iter(jax.vmap(make)(arrays))
    leaves, treedef, is_mapped = found[-1]
    whole = [
        next(mapped) if is_one else leaf for leaf, is_one in zip(leaves, is_mapped, strict=True)
    ]
    return Batched(jax.tree.unflatten(treedef, whole), is_mapped, size)


def check_problem(problem: object) -> None:
    """Refuse what is no problem, such as a result, of which one is a part."""
    if not isinstance(problem, AbstractProblem | Batched):
        raise TypeError(
            "A problem is wanted, such as plenoptax.Metamer(image, model), or the problem of a "
            f"result; got {type(problem).__name__}."
        )
