import json
import os
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._archive import Archive, check_finite, look_up, write_archive
from .._packing import Kinds, pack, to_plain, unpack
from .._rules import checked, NOT_NEGATIVE
from .._tree import check_alike, describe, leaves_by_path
from .._types import PyTree
from .._warnings import warn_caller
from ._loop import AbstractSolver, AnySolver, as_solver, decode, State
from ._parts import own_path
from ._probe import check_probe, LoadWarning, probe
from ._problem import (
    AbstractProblem,
    AnyProblem,
    Batched,
    check_problem,
    describe_problem,
    Status,
)
from ._trace import BatchedTrace, Info, Trace


KINDS = Kinds((Trace, BatchedTrace, Info))

_SPEC = re.compile(r"[\w<>]+\[(\d+(, \d+)*)?\]")

# The arrays that hold an image of each element, and those of the trace.
_IMAGES = re.compile(r"image|state\.(accepted_)?z\b.*")
_RECORDED = re.compile(r"trace\b.*\.(images|best_image)")


def write_synthesis(
    path: str | os.PathLike,
    state: State,
    trace: Trace | BatchedTrace | None,
    problem: AnyProblem | None,
) -> None:
    """Save a state, its trace and a description of its problem; see `plenoptax.io.save`."""
    if problem is not None:
        check_problem(problem)
    leaves = leaves_by_path(state)
    arrays = {f"state{leaf_path}": to_plain(leaf) for leaf_path, leaf in leaves.items()}
    meta: dict[str, Any] = {
        "kind": "synthesis",
        "state": {leaf_path: describe(leaf) for leaf_path, leaf in leaves.items()},
    }
    if isinstance(problem, Batched) and problem.indices is not None:
        meta["part"] = {"indices": np.asarray(problem.indices).tolist(), "total": problem.total}
    if problem is not None:
        arrays |= {f"problem{name}": array for name, array in probe(problem).items()}
        arrays["image"] = np.asarray(decode(problem, state.accepted_z))
        meta["problem"] = describe_problem(problem)
    if trace is not None:
        meta["trace"] = pack(trace, "trace", arrays, KINDS)
    write_archive(path, meta, arrays)


@checked(tensor_equality_atol=NOT_NEGATIVE, tensor_equality_rtol=NOT_NEGATIVE)
def load(
    path: str | os.PathLike,
    like: State,
    *,
    problem: AnyProblem | None = None,
    raise_on_checks: bool = True,
    tensor_equality_atol: float = 1e-8,
    tensor_equality_rtol: float = 1e-5,
) -> State:
    """Load a state.

    Args:
        path: A file that `save` or a checkpoint wrote.
        like: A state of the same problem and solver, such as a new one from `init`. Its values do
            not matter. The loaded arrays are placed on the devices of its arrays.
        problem: The current problem, which is compared with the one in the file, if any.
        raise_on_checks: Whether a problem that differs raises; otherwise it warns.
        tensor_equality_atol: Absolute tolerance of the comparison.
        tensor_equality_rtol: Relative tolerance of the comparison.

    Returns:
        The state, bit for bit as it was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedFileError: If plenoptax did not save the file, or it has changed since.
        ValueError: If a leaf is missing, renamed, or has another shape or dtype than in `like`, or
            if the problem differs. The message names the leaf.

    Warns:
        LoadWarning: If the problem differs, without `raise_on_checks`.

    Example:
        >>> import jax, tempfile, plenoptax as plx
        >>> problem, solver = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7)), plx.lbfgs()
        >>> state = plx.init(problem, solver, key=jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plx.io.save(folder + "/state.npz", state, problem=problem)
        ...     again = plx.io.load(folder + "/state.npz", like=state, problem=problem)
        >>> int(again.num_steps)
        0
    """
    with Archive(own_path(path, problem)) as archive:
        check_synthesis(archive)
        if problem is not None:
            tolerances = {"atol": tensor_equality_atol, "rtol": tensor_equality_rtol}
            _check_problem(archive, problem, raise_on_checks, tolerances)
        return _read_state(archive, like)


def _check_problem(
    archive: Archive, problem: AnyProblem, raise_on_checks: bool, tolerances: dict[str, float]
) -> None:
    """Compare a problem with the one in a file, if the file has one."""
    _check_part(archive, problem)
    if "problem" not in archive.meta:
        return
    names = [name for name in archive.arrays if name.startswith("problem.")]
    check_probe(
        archive.path,
        {name.removeprefix("problem"): archive.read(name) for name in names},
        archive.meta["problem"],
        problem,
        raise_on_checks=raise_on_checks,
        tolerances=tolerances,
    )


def _read_state(archive: Archive, like: State) -> State:
    wanted = leaves_by_path(like)
    check_alike(
        {leaf_path: _Spec(text) for leaf_path, text in archive.meta["state"].items()},
        wanted,
        lambda fault: (
            f"The problem and solver must be those with which {archive.path} was saved, got "
            f"others: {fault}.{_say_solver(archive)}"
        ),
    )
    found = {}
    for leaf_path, leaf in wanted.items():
        array = archive.read_as(f"state{leaf_path}", describe(to_plain(leaf)))
        found[leaf_path] = _from_plain(array, leaf)
    return jax.tree_util.tree_map_with_path(
        lambda leaf_path, leaf: found[jax.tree_util.keystr(leaf_path)], like
    )


def load_trace(path: str | os.PathLike) -> Trace | BatchedTrace:
    """Load the trace that was saved with a state.

    Args:
        path: A file that `save` or a checkpoint wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedFileError: If plenoptax did not save the file, or it has changed since.
        ValueError: If the file was saved without a trace.
    """
    with Archive(path) as archive:
        check_synthesis(archive)
        return read_trace(archive)


def check_synthesis(archive: Archive) -> None:
    """Refuse a file that does not hold a synthesis, or whose parts do not belong together."""
    kind = archive.meta.get("kind")
    if kind != "synthesis":
        raise ValueError(
            f"{archive.path} must hold the state of a synthesis, got {kind}. "
            "plenoptax.io.load_result loads results of all kinds."
        )
    archive.check_entries(required=["state"], optional=["problem", "trace", "part"])
    with archive.reading():
        _check_names(archive)
        is_finite = np.asarray(read_status(archive) != Status.nonfinite)
        part = read_part(archive)
        if part is not None and len(part[0]) != is_finite.size:
            raise ValueError(f"it lists {len(part[0])} elements and holds {is_finite.size}")
        for name in archive.arrays:
            if _IMAGES.fullmatch(name):
                array = archive.read(name)
                if array.shape[: is_finite.ndim] != is_finite.shape:
                    raise ValueError(f"{name} has another number of elements than its status")
                check_finite(name, array[is_finite])
            elif _RECORDED.fullmatch(name) and is_finite.all():
                check_finite(name, archive.read(name))


def read_part(archive: Archive) -> tuple[list[int], int] | None:
    """Return the indices of the elements in a larger batch, and its size; None for a whole one."""
    part = archive.meta.get("part")
    if part is None:
        return None
    with archive.reading():
        indices, total = look_up(part, "indices", list), look_up(part, "total", int)
        if len(part) != 2:
            raise ValueError("its part has another form")
        if not all(type(index) is int and 0 <= index < total for index in indices):
            raise ValueError(f"its elements are {indices} of {total}")
        return indices, total


def _check_part(archive: Archive, problem: AnyProblem) -> None:
    """Refuse a file with other elements of a batch."""
    part = read_part(archive)
    indices = getattr(problem, "indices", None)
    wanted = None if indices is None else np.asarray(indices).tolist()
    if part is not None and wanted is not None and part[0] != wanted:
        raise ValueError(
            f"{archive.path} must hold the elements {wanted} of the batch, got {part[0]}. Continue "
            "with as many processes, and devices in the same order, as before."
        )


def _check_names(archive: Archive) -> None:
    """Compare the arrays besides those of the trace with the list of leaves."""
    state = look_up(archive.meta, "state", dict)
    problem = look_up(archive.meta, "problem", dict) if "problem" in archive.meta else None
    for name in problem or {}:
        look_up(problem, name, str)
    for leaf_path in state:
        text, found = look_up(state, leaf_path, str), archive.arrays.get(f"state{leaf_path}", "")
        # Keys and foreign dtypes are stored as others; the former have a shape of their own.
        shapes = [spec.partition("[")[2] for spec in (text, found)]
        if not _SPEC.fullmatch(text) or (shapes[0] != shapes[1] and not text.startswith("key")):
            raise ValueError(f"its leaf {leaf_path} is {text}")
    wanted = {f"state{leaf_path}" for leaf_path in state}
    if problem is not None:
        wanted |= {"image", *(name for name in archive.arrays if name.startswith("problem."))}
    found = {name for name in archive.arrays if not name.startswith("trace")}
    if found != wanted:
        raise ValueError(f"{sorted(found ^ wanted)} is missing or too much")


def read_status(archive: Archive) -> Status:
    """Return the status in an open file, of one synthesis or of each element of a batch."""

    def read(leaf_path: Any, _: Any) -> Array:
        value = archive.read(f"state.status{jax.tree_util.keystr(leaf_path)}")
        is_number = value.dtype.kind in "iu"
        if not is_number or not ((value >= 0) & (value < len(Status))).all():
            raise ValueError(f"its status is {value}")
        return jnp.asarray(value)

    with archive.reading():
        return jax.tree_util.tree_map_with_path(read, Status.running)


def read_trace(archive: Archive) -> Trace | BatchedTrace:
    """Return the trace in an open file."""
    if "trace" not in archive.meta:
        raise ValueError(
            f"{archive.path} must hold a trace, got a state that was saved without one. Load the "
            "state with plenoptax.io.load."
        )
    trace = unpack(archive.meta["trace"], archive, KINDS)
    with archive.reading():
        if not isinstance(trace, Trace | BatchedTrace):
            raise ValueError("its trace is of another kind")
        for element in trace.elements:
            lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(element.infos)}
            is_single = len(lengths) == 1 and lengths != {()}
            if not is_single or len(element.images) != len(element.image_steps):
                raise ValueError("the parts of its trace have different lengths")
    return trace


def read_synthesis(
    archive: Archive, problem: AnyProblem | None, solver: AnySolver | None
) -> tuple[AnyProblem, State, Trace | BatchedTrace, AbstractSolver | None, Array | None]:
    """Return the parts of a result that a file holds; see `plenoptax.io.load_result`.

    Returns:
        The problem or a placeholder; the state, without the solver's memory if no solver is given;
        the trace; the solver; and the image of the last loss, if it was saved.
    """
    trace = read_trace(archive)
    solver = None if solver is None else as_solver(solver)
    image = jnp.asarray(archive.read("image")) if "image" in archive.arrays else None
    if problem is None:
        missing = _MissingProblem()
        is_batch = isinstance(trace, BatchedTrace)
        posed = Batched(missing, (), len(trace)) if is_batch else missing
        return posed, _read_progress(archive), trace, solver, image
    if "problem" not in archive.meta:
        warn_caller(
            f"{archive.path} was saved without its problem, so it could not be compared with the "
            "given problem.",
            LoadWarning,
        )
    _check_problem(archive, problem, True, {"atol": 1e-8, "rtol": 1e-5})
    if solver is None:
        return problem, _read_progress(archive), trace, None, image
    return problem, _read_state(archive, _state_like(archive, problem, solver)), trace, solver, None


def _say_solver(archive: Archive) -> str:
    """Return which solver a file was saved with, if it has a trace."""
    if "trace" not in archive.meta:
        return ""
    provenance = read_trace(archive).provenance
    names = [name for name in ("optimizer", "stop") if name in provenance]
    words = [f"the {name} {provenance[name]}" for name in names]
    return f" It was saved with {' and '.join(words)}." if words else ""


def _read_progress(archive: Archive) -> State:
    """Return the part of a state that can be read without its problem and solver."""
    with archive.reading():
        specs = {
            name: look_up(archive.meta["state"], f".{name}", str)
            for name in ("accepted_loss", "num_steps", "num_evaluations")
        }
    found: dict[str, Any] = {
        name: jnp.asarray(archive.read_as(f"state.{name}", spec)) for name, spec in specs.items()
    }
    nothing: dict[str, Any] = dict.fromkeys(
        ("z", "accepted_z", "optimizer_state", "stop_state", "memory")
    )
    return State(**nothing, **found, status=read_status(archive))


def _state_like(archive: Archive, problem: AnyProblem, solver: AbstractSolver) -> State:
    """Return a state of a problem and a solver, with the sizes in the file."""
    z = eqx.filter_eval_shape(
        lambda p: p.map(lambda p: p.encode(p.initial_image(jax.random.key(0)))), problem
    )

    def sized(leaf_path: Any, leaf: Any) -> Array:
        # The image may be larger than the target.
        spec = archive.meta["state"].get(f".z{jax.tree_util.keystr(leaf_path)}")
        shape = leaf.shape if spec is None else _Spec(spec).shape
        return jnp.zeros(shape, leaf.dtype)

    z = jax.tree_util.tree_map_with_path(sized, z)
    shapes = eqx.filter_eval_shape(
        lambda p, z: p.map(lambda p, z: solver.init(p, z), z), problem, z
    )
    return problem.place(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))


def _ask_for_problem(*arguments: Any, **named: Any) -> Any:
    raise ValueError(
        "Reports, objectives and further steps must have the problem, got a result that was loaded "
        "without it. Give it: plenoptax.io.load_result(path, problem=..., solver=...)."
    )


class _MissingProblem(AbstractProblem):
    """A placeholder for the problem of a result that was loaded without it."""

    initial_image = encode = decode = project = objective = start = advance = _ask_for_problem

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _ask_for_problem()


class _Spec:
    """The dtype and shape of a saved leaf, from the text of the file."""

    def __init__(self, text: str):
        self.dtype, _, shape = text.partition("[")
        self.shape = json.loads("[" + shape)


def _from_plain(array: np.ndarray, like: Array) -> PyTree:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(like))
    # JAX distinguishes arrays that are committed to a device from others: run would compile again.
    sharding = like.sharding if getattr(like, "committed", False) else None
    return jax.device_put(array.view(like.dtype), sharding)
