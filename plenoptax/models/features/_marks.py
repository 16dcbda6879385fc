"""Values that a network marks by name, read from its jaxpr.

`jax.ad_checkpoint.checkpoint_name` is the identity, and leaves an equation with the name in the
jaxpr. The adapters mark the outputs of submodules in this way, so one reader serves all frameworks.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import (
    ClosedJaxpr,
    DebugInfo,
    DropVar,
    Jaxpr,
    jaxpr_as_fun,
    jaxprs_in_params,
    Literal,
)
from jax.extend.core.primitives import closed_call_p, jit_p, name_p, remat_p
from jaxtyping import Array

from ..._tree import is_array
from ..._types import PyTree
from ._rectifiers import follow, program_of, Trail


# Begins the marks that plenoptax gives to outputs of submodules.
_OURS = "plenoptax layer "

# Calls that the reader enters. Equations of a loop or a conditional run several times or not at
# all, and those of a function with its own derivative would lose it.
_ENTERED = (jit_p, remat_p, closed_call_p)


class Layer(NamedTuple):
    """A marked value.

    Attributes:
        name: The name of the layer.
        value: The value.
        before: Computes the value before the rectifier that the layer ends in; None if it does not
            end in one.
    """

    name: str
    value: Array
    before: Callable[[], Array] | None


def mark_output(name: str, output: PyTree) -> PyTree:
    """Mark the floating-point arrays of a submodule's output with the name of the submodule.

    If there are several, each name ends with the place of its array in the output, such as ``[0]``.
    """
    # The state of Equinox's stateful layers is not part of their response.
    parts, structure = jax.tree_util.tree_flatten_with_path(
        output, is_leaf=lambda part: isinstance(part, eqx.nn.State)
    )
    is_marked = [
        eqx.is_array(part) and jnp.issubdtype(part.dtype, jnp.floating) for _, part in parts
    ]
    marked = []
    for (path, part), is_response in zip(parts, is_marked, strict=True):
        place = jax.tree_util.keystr(path) if sum(is_marked) > 1 else ""
        marked.append(checkpoint_name(part, f"{_OURS}{name}{place}") if is_response else part)
    return jax.tree.unflatten(structure, marked)


def trace_network(network: Callable, image: Any) -> tuple[Any, list[Any]]:
    """Trace a network that marks its layers.

    Returns:
        The jaxpr, and its arguments: the arrays of the network and the image.
    """
    arrays, rest = eqx.partition(network, is_array)

    def run(arrays: PyTree, image: Array) -> PyTree:
        return eqx.filter(eqx.combine(arrays, rest)(image), eqx.is_array)

    return jax.make_jaxpr(run)(arrays, image), jax.tree.leaves((arrays, image))


def names_of(traced: Any) -> tuple[list[str], dict[str, str]]:
    """Return the names of the layers, given the jaxpr of a network.

    Returns:
        The names that can be read, in the order of computation; and the others, each with the
        primitive that contains it, such as a loop.
    """
    marks = [*_marks_in(traced)]
    namer = Namer(traced)
    names = [namer(raw) for raw, place in marks if place is None]
    hidden = {raw.removeprefix(_OURS): place for raw, place in marks if place is not None}
    return [name for name in names if name is not None], hidden


class Namer:
    """The names of layers, given their marks in the order of computation.

    A network's own marks take the place of those of its submodules. The second value of the same
    name gets the name ``name_1``, as in torchvision's feature extraction.
    """

    def __init__(self, traced: Any):
        """Find out whether the network marks values itself, given its jaxpr."""
        self._only_own = any(not raw.startswith(_OURS) for raw, _ in _marks_in(traced))
        self._taken: set[str] = set()

    def __call__(self, raw: str) -> str | None:
        """Return the name of the next mark; None for one that does not count."""
        if self._only_own and raw.startswith(_OURS):
            return None
        base = name = raw.removeprefix(_OURS)
        count = 0
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name


def _marks_in(program: Any, place: str | None = None) -> Iterator[tuple[str, str | None]]:
    """Yield the marks in a jaxpr, each with the name of the primitive that hides it, or None."""
    for equation in program.eqns:
        if equation.primitive is name_p:
            yield equation.params["name"], place
        is_entered = equation.primitive in _ENTERED
        for inner in jaxprs_in_params(equation.params):
            yield from _marks_in(inner, place if is_entered else place or equation.primitive.name)


def read_layers(traced: Any, arguments: Sequence[Any]) -> Iterator[Layer]:
    """Compute a network and yield its layers on the way.

    A consumer that stops has computed nothing after the last layer that it took.

    Args:
        traced: The jaxpr of a network.
        arguments: Its arguments, which may be traced.
    """
    namer = Namer(traced)
    trails = [Trail().at(argument) for argument in arguments]
    for raw, value, trail in _walk(traced, arguments, trails):
        name = namer(raw)
        if name is not None:
            yield Layer(name, value, trail.source)


def _walk(program: Any, arguments: Sequence[Any], trails: Sequence[Trail]) -> Any:
    """Evaluate a jaxpr, yield its marks with value and trail, and return outputs and trails."""
    # The program inside a remat has no constants, and in JAX 0.10 no attribute for them.
    jaxpr, constants = getattr(program, "jaxpr", program), getattr(program, "consts", ())
    found = {
        variable: (value, trail)
        for variable, value, trail in zip(
            (*jaxpr.constvars, *jaxpr.invars),
            (*constants, *arguments),
            (*[Trail()] * len(constants), *trails),
            strict=True,
        )
    }

    def read(atoms: Sequence[Any]) -> tuple[list[Any], list[Trail]]:
        pairs = [
            (atom.val, Trail.constant(atom.val)) if isinstance(atom, Literal) else found[atom]
            for atom in atoms
        ]
        return [value for value, _ in pairs], [trail for _, trail in pairs]

    for equation in jaxpr.eqns:
        values, before = read(equation.invars)
        if equation.primitive is name_p:
            yield equation.params["name"], values[0], before[0]
            after = before
        elif _is_entered(equation):
            values, after = yield from _walk(program_of(equation), values, before)
        else:
            after = follow(equation, before, compute)
            values = compute(equation, values)
        for variable, value, trail in zip(equation.outvars, values, after, strict=True):
            found[variable] = value, trail.at(value)
    return read(jaxpr.outvars)


def _is_entered(equation: Any) -> bool:
    # Outside of its call, what a remat computes is kept.
    return equation.primitive is jit_p or (
        equation.primitive in _ENTERED
        and any(place is None for _, place in _marks_in(program_of(equation)))
    )


def compute(equation: Any, operands: Sequence[Any]) -> list[Any]:
    """Evaluate one equation of a jaxpr."""
    given = {
        atom: value
        for atom, value in zip(equation.invars, operands, strict=True)
        if not isinstance(atom, Literal)
    }
    wanted = [variable for variable in equation.outvars if not isinstance(variable, DropVar)]
    about = DebugInfo("layer", equation.primitive.name, None, None)
    alone = Jaxpr([], list(given), wanted, [equation], equation.effects, about)
    results = iter(jaxpr_as_fun(ClosedJaxpr(alone, []))(*given.values()))
    return [None if isinstance(one, DropVar) else next(results) for one in equation.outvars]
