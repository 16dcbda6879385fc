import json
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._rules import checked, NOT_NEGATIVE
from .._tree import check_alike, describe, leaves_by_path
from .._types import PyTree
from ._archive import Archive, write_archive
from ._batch import Batched, check_problem
from ._probe import check_probe, describe_problem, probe
from ._problem import AbstractProblem
from ._state import State
from ._trace import BatchedTrace, Trace


def save(
    path: str | os.PathLike,
    state: State,
    trace: Trace | BatchedTrace | None = None,
    *,
    problem: AbstractProblem | Batched | None = None,
) -> None:
    """Save a state, and the trace that led to it, to a file.

    The file is a NumPy ``.npz`` archive: one array for each leaf of the state, named by the path
    that leads to it, and a JSON text that says what belongs there. It holds no code and nothing is
    pickled, so it can be read without plenoptax. It is written beside its place and moved there
    when it is whole: an interrupted save leaves the file that was there before.

    Args:
        path: Where to; an existing file is replaced. ``.npz`` is the usual ending and not added.
        state: A state, of one problem or of a batch.
        trace: Its trace, if it is to be kept.
        problem: What was minimized. Its images and weights are kept too, with its objective at a
            probe image, so that `load` can tell whether the problem has changed since.

    Raises:
        TypeError: If the state, the trace or the problem is something else.
        FileNotFoundError: If there is no such folder.

    Example:
        >>> import jax, tempfile, plenoptax as plx
        >>> problem = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7))
        >>> state = plx.init(problem, plx.Solver(plx.lbfgs()), key=jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plx.io.save(folder + "/state.npz", state)
        ...     again = plx.io.load(folder + "/state.npz", like=state)
        >>> bool((again.z == state.z).all())
        True
    """
    if not isinstance(state, State) or not isinstance(trace, Trace | BatchedTrace | None):
        raise TypeError(
            "A state is saved, and its trace if you like: of a result, save(path, result.state, "
            f"result.trace); got {type(state).__name__} and {type(trace).__name__}."
        )
    if problem is not None:
        check_problem(problem)
    leaves = leaves_by_path(state)
    arrays = {f"state{leaf_path}": _to_plain(leaf) for leaf_path, leaf in leaves.items()}
    meta: dict[str, Any] = {
        "state": {leaf_path: describe(leaf) for leaf_path, leaf in leaves.items()}
    }
    if problem is not None:
        arrays |= {f"problem{name}": array for name, array in probe(problem).items()}
        meta["problem"] = describe_problem(problem)
    if trace is not None:
        elements = trace.elements if isinstance(trace, BatchedTrace) else (trace,)
        meta["trace"] = {
            "is_batch": isinstance(trace, BatchedTrace),
            "elements": [_describe_trace(element) for element in elements],
        }
        for index, element in enumerate(elements):
            for name, array in _trace_arrays(element).items():
                arrays[f"trace[{index}].{name}"] = array
    write_archive(path, meta, arrays)


@checked(tensor_equality_atol=NOT_NEGATIVE, tensor_equality_rtol=NOT_NEGATIVE)
def load(
    path: str | os.PathLike,
    like: State,
    *,
    problem: AbstractProblem | Batched | None = None,
    raise_on_checks: bool = True,
    tensor_equality_atol: float = 1e-8,
    tensor_equality_rtol: float = 1e-5,
) -> State:
    """Load a state.

    Args:
        path: A file that `save` or a checkpoint wrote.
        like: A state of the same problem and solver, such as a fresh one from `init`; its values
            do not matter. The arrays go where its arrays are.
        problem: The problem at hand, to be compared with the one in the file if there is one.
        raise_on_checks: Whether a problem that differs raises; otherwise it warns.
        tensor_equality_atol: Absolute tolerance of the comparison.
        tensor_equality_rtol: Relative tolerance of the comparison.

    Returns:
        The state, bit for bit as it was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no such file or is damaged; if a leaf is missing, renamed, or of
            another shape or dtype than in `like`; or if the problem differs. Names the leaf.

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
    with Archive(path) as archive:
        if "state" not in archive.meta:
            raise ValueError(f"{path} does not hold the state of a synthesis.")
        if problem is not None and "problem" in archive.meta:
            names = [name for name in archive.names if name.startswith("problem.")]
            check_probe(
                path,
                {name.removeprefix("problem"): archive.read(name) for name in names},
                problem,
                raise_on_checks=raise_on_checks,
                tolerances={"atol": tensor_equality_atol, "rtol": tensor_equality_rtol},
            )
        return _read_state(archive, like)


def _read_state(archive: Archive, like: State) -> State:
    wanted = leaves_by_path(like)
    check_alike(
        {leaf_path: _Spec(text) for leaf_path, text in archive.meta["state"].items()},
        wanted,
        lambda fault: f"{archive.path} does not hold a state of this problem and solver: {fault}.",
    )
    found = {}
    for leaf_path, leaf in wanted.items():
        array = archive.read_as(f"state{leaf_path}", describe(_to_plain(leaf)))
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
        ValueError: If the file is no such file, is damaged, or was saved without a trace.
    """
    with Archive(path) as archive:
        if "trace" not in archive.meta:
            raise ValueError(f"{path} was saved without a trace.")
        saved = archive.meta["trace"]
        elements = tuple(
            _read_trace(archive, index, description)
            for index, description in enumerate(saved["elements"])
        )
    return BatchedTrace(elements) if saved["is_batch"] else elements[0]


def examine_saved_synthesis(file_path: str | os.PathLike) -> None:
    """Print what a file holds: versions, names, how far it got, and the shapes of its arrays.

    Args:
        file_path: A file that `save`, a checkpoint or `plenoptax.Eigendistortions.save` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no such file, or is damaged.

    Example:
        >>> import jax, tempfile, plenoptax as plx
        >>> state = plx.init(
        ...     plx.Metamer(plx.data.brick(), plx.models.Gaussian(7)),
        ...     plx.lbfgs(),
        ...     key=jax.random.key(0),
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plx.io.save(folder + "/state.npz", state)
        ...     plx.io.examine_saved_synthesis(folder + "/state.npz")
        plenoptax ...
        ...state.z ... float32[1, 256, 256]
        ...
    """
    with Archive(file_path) as archive:
        meta = archive.meta
        rows = {"plenoptax": meta["plenoptax"], "jax": meta["jax"]}
        rows |= meta.get("problem", {})
        for index, element in enumerate(meta.get("trace", {}).get("elements", [])):
            losses = archive.read(f"trace[{index}].losses")
            facts = {"steps": len(losses) - 1, "loss": f"{losses[0]:.6g} -> {losses[-1]:.6g}"}
            for name, fact in (facts | element["provenance"]).items():
                rows[f"trace[{index}] {name}"] = fact
        found = meta.get("eigendistortions", {})
        rows |= found.get("facts", {}) | found.get("provenance", {})
        rows |= {f"state{leaf_path}": text for leaf_path, text in meta.get("state", {}).items()}
        rows |= {name: describe(archive.read(name)) for name in archive.names if name not in rows}
    width = max(len(name) for name in rows)
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")


class _Spec:
    """The dtype and shape of a saved leaf, as they were written down."""

    def __init__(self, text: str):
        self.dtype, _, shape = text.partition("[")
        self.shape = json.loads("[" + shape)


_PLAIN = ("losses", "penalties", "gradient_norm", "pixel_change_norm", "learning_rate")
_PLAIN += ("accepted", "num_evaluations", "images", "image_steps")


def _trace_arrays(trace: Trace) -> dict[str, np.ndarray]:
    arrays = {name: getattr(trace, name) for name in _PLAIN}
    arrays |= {f"terms.{name}": term for name, term in trace.terms.items()}
    if trace.best_image is not None:
        arrays["best_image"] = trace.best_image
    return arrays


def _describe_trace(trace: Trace) -> dict[str, Any]:
    return {
        "terms": list(trace.terms),
        "arrays": {name: describe(array) for name, array in _trace_arrays(trace).items()},
        "has_best": trace.best_image is not None,
        # JSON knows no infinity.
        "best_loss": None if np.isinf(trace.best_loss) else trace.best_loss,
        "provenance": trace.provenance,
    }


def _read_trace(archive: Archive, index: int, description: dict[str, Any]) -> Trace:
    def read(name: str) -> np.ndarray:
        entry, wanted = f"trace[{index}].{name}", description["arrays"][name]
        return archive.read_as(entry, wanted)

    best_loss = description["best_loss"]
    return Trace(
        **{name: read(name) for name in _PLAIN},
        terms={name: read(f"terms.{name}") for name in description["terms"]},
        best_image=read("best_image") if description["has_best"] else None,
        best_loss=np.inf if best_loss is None else best_loss,
        provenance=description["provenance"],
    )


def _to_plain(leaf: Array) -> np.ndarray:
    """An array of a dtype that NumPy's files know."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    array = np.asarray(leaf)
    is_foreign = array.dtype.kind == "V"
    return array.view(f"u{array.dtype.itemsize}") if is_foreign else array


def _from_plain(array: np.ndarray, like: Array) -> PyTree:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(like))
    # An array committed to its device is another argument to a compiled function than one that is
    # not: run would compile anew.
    sharding = like.sharding if getattr(like, "committed", False) else None
    return jax.device_put(array.view(like.dtype), sharding)
