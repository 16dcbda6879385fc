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

from .._function import AbstractFunction
from .._placement import (
    ELEMENTS,
    find_placement,
    hold_own,
    mesh_of,
    on_each,
    one_copy,
    over_devices,
    Placement,
)
from .._tree import is_array, tree_where
from .._types import Device, Key, PyTree, Scalar
from .._words import in_words


class AbstractProblem(AbstractFunction):
    """The objective to minimize: the loop's only interface to a method of synthesis.

    A problem is a frozen pytree: arrays are leaves (another image recompiles nothing), choices are
    static. It contains no optimizer, history, randomness or files. Every method is pure and can be
    compiled.

    The optimizer moves ``z``, and `decode` maps ``z`` to the image. ``memory`` is what a problem
    carries from step to step (a multiplier, a schedule); most problems need none and use ``None``.
    A problem with several stages carries a `Stage`.

    A single problem has the same methods as a batch, so the loop does not need to distinguish the
    two. In a batch, the first axis of everything that belongs to an element (state, key, image)
    indexes the elements. In its programs, a single problem has no such axis; the host sees it as a
    batch of one, by `rows`.
    """

    @abc.abstractmethod
    def initial_image(self, key: Key) -> Array:
        """Return the image that a synthesis starts from if the user gives none."""

    @abc.abstractmethod
    def encode(self, image: Array) -> PyTree:
        """Return the ``z`` of an image."""

    @abc.abstractmethod
    def decode(self, z: PyTree) -> Array:
        """Return the image of a ``z``."""

    @abc.abstractmethod
    def project(self, z: PyTree) -> PyTree:
        """Return the admissible point nearest to ``z`` (hard constraints), after every step."""

    @abc.abstractmethod
    def objective(self, z: PyTree, memory: PyTree) -> tuple[Scalar, dict[str, Array]]:
        """Return the value to minimize and its terms.

        Returns:
            The value and its terms: ``"penalty"`` (before its weight) and any other arrays to
            record in the trace.
        """

    @abc.abstractmethod
    def start(self) -> PyTree:
        """Return the memory before the first step."""

    @abc.abstractmethod
    def advance(self, memory: PyTree, z: PyTree, terms: dict[str, Array]) -> PyTree:
        """Return the memory after an accepted step, or after the last step of a `Stage`.

        Args:
            memory: The memory before the step; a `Stage` already counts the step.
            z: The point that the step evaluated.
            terms: The terms from `objective` at that point, and its value as ``"loss"``.
        """

    @property
    def num_elements(self) -> int:
        """The number of elements; 1 for a single problem."""
        return 1

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices that hold the elements, if they are distributed; else empty."""
        return ()

    @property
    def posed(self) -> "AbstractProblem":
        """The problem; for a batch one problem whose arrays may have a leading axis."""
        return self

    @property
    def are_equal(self) -> bool:
        """Whether all elements are the same problem, started from several images."""
        return True

    def element(self, index: int, tree: PyTree) -> tuple["AbstractProblem", PyTree]:
        """Return one of the problems, and its part of a tree of arrays."""
        return self, tree

    def map(self, function: Callable, *arguments: PyTree) -> PyTree:
        """Call ``function(problem, *arguments)`` for each element."""
        return function(self, *arguments)

    def map_in_turn(self, function: Callable, *arguments: PyTree) -> PyTree:
        """Map over one element after another, so that no element waits for another."""
        return function(self, *arguments)

    def apart(self, function: Callable, *arguments: PyTree) -> PyTree:
        """Call ``function(problem, *arguments)`` on each device, with the elements it holds."""
        return function(self, *arguments)

    def hold(self, is_held: Bool[Array, ""], old: PyTree, new: PyTree) -> PyTree:
        """Return the new tree, with the old one for held elements; a single problem is not held."""
        return new

    def split(self, *, key: Key) -> Key:
        """Return a key for each element."""
        return key

    def spread(self, image: Array) -> Array:
        """Return an image for each element, from one for all or from one for each."""
        return image

    def convert(self, make_problem: Callable, *arrays: PyTree) -> "AnyProblem":
        """Return ``make_problem(problem, *arrays)`` for each element, as a problem or a batch."""
        return make_problem(self, *arrays)

    def place(self, tree: PyTree) -> PyTree:
        """Put arrays with the elements as their first axis on the devices of these elements."""
        return tree

    def rows(self, tree: PyTree) -> PyTree:
        """Return host arrays with the elements as their first axis, also for a single problem."""
        return jax.tree.map(lambda leaf: np.asarray(leaf)[None], tree)

    def join(self, parts: Sequence, together: Callable[[tuple], Any]) -> Any:
        """Return the only part of a single problem, or ``together`` of the parts of a batch."""
        return parts[0]


class AbstractLeastSquares(AbstractProblem):
    """A problem with a residual that is 0 at a perfect solution."""

    @abc.abstractmethod
    def residual(self, z: PyTree) -> PyTree:
        """Return the residual, which is 0 at a perfect solution."""


class AbstractConstrained(AbstractProblem):
    """A problem whose steps may violate a constraint slightly."""

    @abc.abstractmethod
    def is_met(self, terms: dict[str, Array]) -> Bool[Array, ""]:
        """Return whether the constraint holds well enough for the image to count as the best one.

        Args:
            terms: The terms of the image from `AbstractProblem.objective`.
        """


class Stage(eqx.Module):
    """The memory of a problem with a sequence of objectives, for example from coarse to fine.

    A problem whose `AbstractProblem.start` returns a `Stage` moves from stage to stage by the index
    that `AbstractProblem.advance` returns. At a change, the loop restarts the learning rate, L-BFGS
    and the stop rule, because they were adapted to another objective, and keeps the moments of the
    gradient. The stop rule can end the synthesis only in the last stage.

    Attributes:
        index: The current stage.
        names: The names of the stages, in order.
        inner: The rest of the problem's memory.
        num_steps: The number of steps taken in the current stage, including rejected trials. The
            loop counts them.
        max_steps: The maximum number of steps of a stage, including rejected trials; None for no
            limit. At the limit, the loop calls `AbstractProblem.advance`, which must move to the
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
        """Whether the current stage has reached its maximum number of steps."""
        if self.max_steps is None:
            return jnp.zeros_like(self.waits)
        return self.num_steps >= self.max_steps

    @property
    def may_stop(self) -> Bool[Array, "..."]:
        """Whether the stop rule can end the synthesis here."""
        return self.is_last & ~self.waits


class Status(eqx.Enumeration):
    """The status of a synthesis. A plateau is not success: see `Result.success`.

    Example:
        >>> import plenoptax as plx
        >>> plx.Status[plx.Status.interrupted]
        'The user interrupted the run; the state is that of the last finished step.'
    """

    running = "The synthesis has not stopped."
    plateau = (
        "The stop rule fired, or no smaller loss was found in working precision. Further steps of "
        "the same kind will not help; this does not mean success."
    )
    step_limit = (
        "The limit on the number of steps was reached; run again to continue. If there are stages, "
        "the report names the remaining ones."
    )
    nonfinite = (
        "The objective, its gradient or the moments of the optimizer were not finite; the last "
        "accepted image is kept."
    )
    interrupted = "The user interrupted the run; the state is that of the last finished step."


class Batched(eqx.Module):
    """Several problems minimized together, each with its own loss, stop and status.

    `batch` makes it. Leaves that differ between the elements have a leading axis; the others, such
    as the parameters of a common model, are shared and never copied.

    If the arrays of a batch are distributed over devices, each device computes the elements that it
    holds, and needs nothing from the others. If they are distributed over several processes, the
    batch of each process consists of the elements that its devices hold.

    Attributes:
        problem: All problems as one, with a leading axis where they differ.
        is_mapped: Whether each leaf of `problem` has the leading axis, in the order of its leaves.
        size: The number of problems.
        devices: The devices that hold the elements, in equal parts; empty if they are not
            distributed.
        indices: The indices of the elements in a larger batch, of which they are a part; else None.
        total: The number of elements of the larger batch.
    """

    problem: AbstractProblem
    is_mapped: tuple[bool, ...] = eqx.field(static=True)
    size: int = eqx.field(static=True)
    devices: tuple[Device, ...] = eqx.field(static=True, default=())
    indices: Int[Array, " size"] | None = None
    total: int | None = eqx.field(static=True, default=None)

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
        """Return one of the problems."""
        if not -self.size <= index < self.size:
            raise IndexError(
                f"The index must be within the {self.size} elements of the batch, got {index}."
            )
        return self._with_mapped([leaf[index] for leaf in self._mapped()])

    def take(self, indices: np.ndarray) -> "Batched":
        """Return some of the problems, as a smaller batch."""
        whole = jnp.arange(self.size) if self.indices is None else self.indices
        total = self.size if self.total is None else self.total
        taken = [jnp.take(leaf, indices, axis=0) for leaf in (whole, *self._mapped())]
        devices = self.devices if self.devices and len(indices) % len(self.devices) == 0 else ()
        if devices:
            taken = jax.device_put(taken, over_devices(devices))
        return Batched(
            self._with_mapped(taken[1:]), self.is_mapped, len(indices), devices, taken[0], total
        )

    def map(self, function: Callable, *arguments: PyTree) -> PyTree:
        """Call ``function(problem, *arguments)`` for each element of the arguments' first axis."""

        def together(part: "Batched", *arguments: PyTree) -> PyTree:
            one = part._of_mapped(function)
            return jax.vmap(one, axis_size=part.size)((part._mapped(), arguments))

        return self.apart(together, *arguments)

    def map_in_turn(self, function: Callable, *arguments: PyTree) -> PyTree:
        """See `AbstractProblem.map_in_turn`."""

        def in_turn(part: "Batched", *arguments: PyTree) -> PyTree:
            return jax.lax.map(part._of_mapped(function), (part._mapped(), arguments))

        return self.apart(in_turn, *arguments)

    def apart(self, function: Callable, *arguments: PyTree) -> PyTree:
        """See `AbstractProblem.apart`; all outputs have the elements as their first axis."""
        if not self.devices:
            return function(self, *arguments)

        def on_device(mapped: list[Array], indices: Array | None, *arguments: PyTree) -> PyTree:
            size = self.size // len(self.devices)
            part = Batched(self._with_mapped(mapped), self.is_mapped, size, (), indices, self.total)
            return function(part, *arguments)

        distributed = jax.shard_map(
            on_device,
            mesh=mesh_of(self.devices),
            in_specs=ELEMENTS,
            out_specs=ELEMENTS,
            # Elements are independent: no output is the same on all devices.
            check_vma=False,
        )
        return distributed(self._mapped(), self.indices, *arguments)

    def hold(self, is_held: Bool[Array, " size"], old: PyTree, new: PyTree) -> PyTree:
        """See `AbstractProblem.hold`."""
        return jax.vmap(tree_where)(is_held, old, new)

    def split(self, *, key: Key) -> PyTree:
        """See `AbstractProblem.split`."""
        if self.indices is None or self.total is None:
            return jax.random.split(key, self.size)
        # Those that they would have in the whole batch.
        return jax.random.split(key, self.total)[self.indices]

    def spread(self, image: Array) -> Array:
        """See `AbstractProblem.spread`."""
        usual = eqx.filter_eval_shape(
            lambda b: b.map(lambda p: p.initial_image(jax.random.key(0))), self
        )
        if image.ndim == usual.ndim - 1:
            return self.place(jnp.broadcast_to(one_copy(image), (self.size, *image.shape)))
        placement = find_placement(image)
        if placement is not None and placement.devices != self.devices:
            raise ValueError(
                "initial_image must be distributed over the same devices as the batch, "
                f"{[*self.devices]}, got {[*placement.devices]}. Place both by one sharding."
            )
        image = hold_own(image, placement)
        if image.shape[0] == self.total:
            image = image[self.indices]
        if image.shape[0] != self.size:
            raise ValueError(
                f"initial_image must have {self.size} images along its first axis, got the shape "
                f"{image.shape}. Give one image for each element along the first axis, or one "
                "image without that axis for all."
            )
        return self.place(image)

    def convert(self, make_problem: Callable, *arrays: PyTree) -> "Batched":
        """See `AbstractProblem.convert`; the elements stay where they are."""

        def make(mapped: list[Array], arrays: tuple) -> AbstractProblem:
            return make_problem(self._with_mapped(mapped), *arrays)

        made = batch(make, self._mapped(), arrays)
        return dataclasses.replace(made, indices=self.indices, total=self.total)

    def place(self, tree: PyTree) -> PyTree:
        """See `AbstractProblem.place`."""
        return jax.device_put(tree, over_devices(self.devices)) if self.devices else tree

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
        """Return the function of the leaves that differ between elements and further arguments."""
        return lambda both: function(self._with_mapped(both[0]), *both[1])

    def _with_mapped(self, mapped: list[Array]) -> AbstractProblem:
        """Return the problem with other leaves for those that differ between the elements."""
        rest = iter(mapped)
        leaves, treedef = jax.tree.flatten(self.problem)
        together = zip(leaves, self.is_mapped, strict=True)
        return jax.tree.unflatten(treedef, [next(rest) if m else leaf for leaf, m in together])


AnyProblem: TypeAlias = AbstractProblem | Batched


def batch(make_problem: Callable[..., AbstractProblem], *arrays: PyTree) -> Batched:
    """Build several problems that are minimized together.

    Args:
        make_problem: A function that builds one problem from one element of each array.
        *arrays: Arrays, or trees of arrays, with the batch as their first axis.

    Returns:
        The batch. Leaves that `make_problem` does not compute from the arrays, such as the
        parameters of a model, are shared between the elements.

    Raises:
        ValueError: If no array is given, or their first axes differ.

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
            "The arrays must have a first axis of the same length, the batch, got the lengths "
            f"{', '.join(found) or '(no array)'}."
        )
    placement = find_placement(arrays)
    arrays = hold_own(arrays, placement)
    found: list = []

    def make(elements: tuple[PyTree, ...]) -> list[Array]:
        leaves, treedef = jax.tree.flatten(make_problem(*elements))
        # Inside the map, JAX traces only what was computed from the elements.
        is_mapped = tuple(isinstance(leaf, Tracer) for leaf in leaves)
        found.append((leaves, treedef, is_mapped))
        return [leaf for leaf, mapped in zip(leaves, is_mapped, strict=True) if mapped]

    mapped = jax.vmap(make)(arrays)
    leaves, treedef, is_mapped = found[-1]
    shared = [leaf for leaf, is_one in zip(leaves, is_mapped, strict=True) if not is_one]
    size, placed = jax.tree.leaves(arrays)[0].shape[0], {}
    if placement is not None:
        mapped, shared, placed = _place(mapped, shared, placement)
    parts = {True: iter(mapped), False: iter(shared)}
    whole = [next(parts[is_one]) for is_one in is_mapped]
    return Batched(jax.tree.unflatten(treedef, whole), is_mapped, size, **placed)


def _place(
    mapped: list[Array], shared: list[Any], placement: Placement
) -> tuple[list[Array], list[Any], dict[str, Any]]:
    """Distribute what differs between elements, and copy to each device what they share."""
    devices, indices = placement.devices, placement.indices
    mapped = jax.device_put(mapped, over_devices(devices))
    everywhere = on_each(devices)
    shared = [jax.device_put(x, everywhere) if is_array(x) else x for x in shared]
    placed: dict[str, Any] = {"devices": devices}
    if placement.is_share:
        own = jax.device_put(np.asarray(indices), over_devices(devices))
        placed |= {"indices": own, "total": placement.total}
    return mapped, shared, placed


def check_problem(problem: object) -> None:
    """Raise an error if something is not a problem, such as a result, which contains one."""
    if not isinstance(problem, AbstractProblem | Batched):
        raise TypeError(
            "problem must be a problem such as plenoptax.Metamer(image, model), or the problem of "
            f"a result, got {type(problem).__name__}."
        )


def describe_problem(problem: AnyProblem) -> dict[str, str]:
    """Describe the parts of a problem by name; its class is under ``"problem"``."""
    inner = problem.posed
    names = [field.name for field in dataclasses.fields(inner)]
    return {"problem": type(inner).__name__, **{n: in_words(getattr(inner, n)) for n in names}}
