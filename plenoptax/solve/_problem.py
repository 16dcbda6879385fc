import abc
import dataclasses
import functools as ft
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int

from .._tree import tree_where
from .._types import Key, PyTree, Scalar
from .._words import in_words


class AbstractProblem(eqx.Module):
    """What is to be minimized: all that the loop knows of a method of synthesis.

    A problem is a frozen pytree: arrays are leaves (another image recompiles nothing), choices are
    static. It owns no optimizer, no history, no randomness and no files. Every method is pure and
    can be compiled.

    The optimizer moves ``z``, of which `decode` makes the image. ``memory`` is what a problem
    carries from step to step (a multiplier, a schedule); most have none and use ``None``. A problem
    of several stages carries a `Stage`.

    A problem alone answers what the loop asks of a batch, too, so that it need not know which of
    the two it has. Elements are the first axis of everything that belongs to a batch; a problem
    alone has no such axis in its programs, and the host sees it as a batch of one, by `rows`.
    """

    @abc.abstractmethod
    def initial_image(self, key: Key) -> Array:
        """The image that a synthesis starts from when the user gives none."""

    @abc.abstractmethod
    def encode(self, image: Array) -> PyTree:
        """The ``z`` of an image."""

    @abc.abstractmethod
    def decode(self, z: PyTree) -> Array:
        """The image of a ``z``."""

    @abc.abstractmethod
    def project(self, z: PyTree) -> PyTree:
        """Hard constraints: the admissible point next to ``z``, taken after every step."""

    @abc.abstractmethod
    def objective(self, z: PyTree, memory: PyTree) -> tuple[Scalar, dict[str, Array]]:
        """The value to be minimized and what else is known of it.

        Returns:
            The value and its terms: ``"penalty"`` (before its weight) and any other arrays that
            are worth a column in the trace.
        """

    @abc.abstractmethod
    def start(self) -> PyTree:
        """The memory before the first step."""

    @abc.abstractmethod
    def advance(self, memory: PyTree, z: PyTree, terms: dict[str, Array]) -> PyTree:
        """The memory after an accepted step, or after the last that a `Stage` may take.

        Args:
            memory: The memory before it; a `Stage` counts the step already.
            z: The point that the step evaluated.
            terms: What `objective` said of it, and its value as ``"loss"``.
        """

    @property
    def num_elements(self) -> int:
        """How many there are; 1 for a problem alone."""
        return 1

    @property
    def posed(self) -> "AbstractProblem":
        """The problem; of several all as one, whose arrays may have a leading axis."""
        return self

    @property
    def are_equal(self) -> bool:
        """Whether all elements are one problem, which starts from several images."""
        return True

    def element(self, index: int, tree: PyTree) -> tuple["AbstractProblem", PyTree]:
        """One of the problems, and what a tree of arrays has of it."""
        return self, tree

    def map(self, function: Callable, *arguments: PyTree) -> PyTree:
        """Call ``function(problem, *arguments)`` for each element."""
        return function(self, *arguments)

    def map_in_turn(self, function: Callable, *arguments: PyTree) -> PyTree:
        """As `map`, but with one element after another, which never wait for each other."""
        return function(self, *arguments)

    def hold(self, is_held: Bool[Array, ""], old: PyTree, new: PyTree) -> PyTree:
        """The new tree, with the old one for the elements that are held; alone none is held."""
        return new

    def split(self, *, key: Key) -> Key:
        """A key for each element."""
        return key

    def spread(self, image: Array) -> Array:
        """An image for each element, of one for all or of one for each."""
        return image

    def rows(self, tree: PyTree) -> PyTree:
        """Arrays of the host with the elements as their first axis, also of a problem alone."""
        return jax.tree.map(lambda leaf: np.asarray(leaf)[None], tree)

    def join(self, parts: Sequence, together: Callable[[tuple], Any]) -> Any:
        """What there is of each element: of a problem alone the only part, else all together."""
        return parts[0]


class AbstractLeastSquares(AbstractProblem):
    """A problem of which something vanishes at a perfect solution."""

    @abc.abstractmethod
    def residual(self, z: PyTree) -> PyTree:
        """What vanishes at a perfect solution."""


class AbstractConstrained(AbstractProblem):
    """A problem whose steps may leave a constraint a little."""

    @abc.abstractmethod
    def is_met(self, terms: dict[str, Array]) -> Bool[Array, ""]:
        """Whether the constraint holds well enough for the image to be the best one.

        Args:
            terms: What `AbstractProblem.objective` said of the image.
        """


class Stage(eqx.Module):
    """The memory of a problem that has one objective after another, from coarse to fine say.

    A problem whose `AbstractProblem.start` returns one goes from stage to stage by the index that
    `AbstractProblem.advance` returns. At a change the loop starts the learning rate, L-BFGS and the
    stop rule anew, for what they have learned is of another objective, and keeps the moments of the
    gradient. The stop rule can end the synthesis in the last stage only.

    Attributes:
        index: The present stage.
        names: What to call the stages, in their order.
        inner: Whatever else the problem remembers.
        num_steps: Steps taken in the present stage, rejected trials included. The loop counts them.
        max_steps: The most steps that a stage takes, rejected trials included; None for no limit.
            When they are taken, the loop calls `AbstractProblem.advance`, which has to go to the
            next stage. In the last stage the limit ends a run with ``max_steps=None``.
        waits: Whether the stop rule may not yet end the last stage.
    """

    index: Int[Array, ""]
    names: tuple[str, ...] = eqx.field(static=True)
    inner: PyTree = None
    num_steps: Int[Array, ""] = dataclasses.field(
        default_factory=ft.partial(jnp.zeros, (), jnp.int32)
    )
    max_steps: Int[Array, ""] | None = None
    waits: Bool[Array, ""] = dataclasses.field(default_factory=ft.partial(jnp.zeros, (), bool))

    @property
    def is_last(self) -> Bool[Array, "..."]:
        """Whether no other stage follows."""
        return self.index == len(self.names) - 1

    @property
    def at_limit(self) -> Bool[Array, "..."]:
        """Whether the present stage has taken the most steps that a stage takes."""
        if self.max_steps is None:
            return jnp.zeros_like(self.waits)
        return self.num_steps >= self.max_steps

    @property
    def may_stop(self) -> Bool[Array, "..."]:
        """Whether the stop rule can end the synthesis here."""
        return self.is_last & ~self.waits


class Status(eqx.Enumeration):
    """How a synthesis stands. A plateau is not success: see `Result.success`.

    Example:
        >>> import plenoptax as plx
        >>> plx.Status[plx.Status.interrupted]
        'The user interrupted the run; the state is that of the last finished step.'
    """

    running = "The synthesis has not stopped."
    plateau = (
        "The stop rule fired, or no smaller loss is found in working precision. This says that "
        "more steps of the same kind are of no use, not that the synthesis has succeeded."
    )
    step_limit = (
        "The limit on the number of steps was reached; run again to go on. Where there are stages, "
        "the report names those that are left."
    )
    nonfinite = (
        "The objective, its gradient or the moments of the optimizer were not finite; the last "
        "accepted image is kept."
    )
    interrupted = "The user interrupted the run; the state is that of the last finished step."


class Batched(eqx.Module):
    """Several problems that are minimized at once, each with its own loss, stop and status.

    Made by `batch`. Leaves that differ between the elements have a leading axis; the others, such
    as the parameters of a common model, are shared and never copied.

    Attributes:
        problem: The problems as one.
        is_mapped: Whether each leaf of `problem` has the leading axis, in the order of its leaves.
        size: How many problems there are.
    """

    problem: AbstractProblem
    is_mapped: tuple[bool, ...] = eqx.field(static=True)
    size: int = eqx.field(static=True)

    @property
    def num_elements(self) -> int:
        """See `AbstractProblem.num_elements`."""
        return self.size

    @property
    def posed(self) -> AbstractProblem:
        """See `AbstractProblem.posed`."""
        return self.problem

    @property
    def are_equal(self) -> bool:
        """See `AbstractProblem.are_equal`."""
        return not any(self.is_mapped)

    def element(self, index: int, tree: PyTree) -> tuple[AbstractProblem, PyTree]:
        """See `AbstractProblem.element`."""
        return self[index], jax.tree.map(lambda leaf: leaf[index], tree)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> AbstractProblem:
        """One of the problems."""
        if not -self.size <= index < self.size:
            raise IndexError(f"The batch has {self.size} elements; got index {index}.")
        return self._with_mapped([leaf[index] for leaf in self._mapped()])

    def take(self, indices: np.ndarray) -> "Batched":
        """Some of the problems, as a smaller batch."""
        taken = [jnp.take(leaf, indices, axis=0) for leaf in self._mapped()]
        return Batched(self._with_mapped(taken), self.is_mapped, len(indices))

    def map(self, function: Callable, *arguments: PyTree) -> PyTree:
        """Call ``function(problem, *arguments)`` for each element of the arguments' first axis."""
        one = self._of_mapped(function)
        return jax.vmap(one, axis_size=self.size)((self._mapped(), arguments))

    def map_in_turn(self, function: Callable, *arguments: PyTree) -> PyTree:
        """See `AbstractProblem.map_in_turn`."""
        return jax.lax.map(self._of_mapped(function), (self._mapped(), arguments))

    def hold(self, is_held: Bool[Array, " size"], old: PyTree, new: PyTree) -> PyTree:
        """See `AbstractProblem.hold`."""
        return jax.vmap(tree_where)(is_held, old, new)

    def split(self, *, key: Key) -> PyTree:
        """See `AbstractProblem.split`."""
        return jax.random.split(key, self.size)

    def spread(self, image: Array) -> Array:
        """See `AbstractProblem.spread`."""
        usual = eqx.filter_eval_shape(
            lambda b: b.map(lambda p: p.initial_image(jax.random.key(0))), self
        )
        if image.ndim == usual.ndim - 1:
            return jnp.broadcast_to(image, (self.size, *image.shape))
        if image.shape[0] != self.size:
            raise ValueError(
                f"The initial images have shape {image.shape}, but the batch has {self.size} "
                "elements: give one image for each along the first axis, or one image without "
                "that axis for all."
            )
        return image

    def rows(self, tree: PyTree) -> PyTree:
        """See `AbstractProblem.rows`."""
        return jax.tree.map(np.asarray, tree)

    def join(self, parts: Sequence, together: Callable[[tuple], Any]) -> Any:
        """See `AbstractProblem.join`."""
        return together(tuple(parts))

    def _mapped(self) -> list[Array]:
        leaves = jax.tree.leaves(self.problem)
        return [leaf for leaf, is_mapped in zip(leaves, self.is_mapped, strict=True) if is_mapped]

    def _of_mapped(self, function: Callable) -> Callable[[tuple[list[Array], tuple]], PyTree]:
        """The function, of what differs between the elements, and its further arguments."""
        return lambda both: function(self._with_mapped(both[0]), *both[1])

    def _with_mapped(self, mapped: list[Array]) -> AbstractProblem:
        """The problem with other leaves in place of those that differ between the elements."""
        rest = iter(mapped)
        leaves, treedef = jax.tree.flatten(self.problem)
        together = zip(leaves, self.is_mapped, strict=True)
        return jax.tree.unflatten(treedef, [next(rest) if m else leaf for leaf, m in together])


AnyProblem: TypeAlias = AbstractProblem | Batched


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


def describe_problem(problem: AnyProblem) -> dict[str, str]:
    """The parts of a problem by name, in words; its class is ``"problem"``."""
    inner = problem.posed
    names = [field.name for field in dataclasses.fields(inner)]
    return {"problem": type(inner).__name__, **{n: in_words(getattr(inner, n)) for n in names}}
