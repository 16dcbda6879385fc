import io
import json
import os
import pathlib
import tempfile
import zipfile
import zlib
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._tree import check_alike, describe, leaves_by_path
from .._types import PyTree
from ._batch import Batched
from ._probe import check_probe, describe_problem, probe
from ._problem import AbstractProblem
from ._state import State
from ._trace import BatchedTrace, Trace


# Raised when a newer file cannot be read as an older one would be.
_FORMAT = 1
_META = "plenoptax.json"


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
    leaves = leaves_by_path(state)
    arrays = {f"state{leaf_path}": _to_plain(leaf) for leaf_path, leaf in leaves.items()}
    meta: dict[str, Any] = {
        "format": _FORMAT,
        "plenoptax": metadata.version("plenoptax"),
        "jax": jax.__version__,
        "state": {leaf_path: f"{x.dtype}{list(x.shape)}" for leaf_path, x in leaves.items()},
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
    buffer = io.BytesIO()
    np.savez(buffer, **{_META: np.asarray(json.dumps(meta))}, **arrays)  # pyright: ignore[reportArgumentType]
    _write_atomically(pathlib.Path(path), buffer.getbuffer())


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
    with _open(path) as archive:
        meta = _read_meta(path, archive)
        if problem is not None and "problem" in meta:
            names = [name for name in archive.files if name.startswith("problem.")]
            check_probe(
                path,
                {name.removeprefix("problem"): _read(path, archive, name) for name in names},
                problem,
                raise_on_checks=raise_on_checks,
                tolerances={"atol": tensor_equality_atol, "rtol": tensor_equality_rtol},
            )
        return _read_state(path, archive, meta, like)


def _read_state(path: str | os.PathLike, archive: Any, meta: dict[str, Any], like: State) -> State:
    wanted = leaves_by_path(like)
    check_alike(
        {leaf_path: _Spec(text) for leaf_path, text in meta["state"].items()},
        wanted,
        lambda fault: f"{path} does not hold a state of this problem and solver: {fault}.",
    )
    found = {}
    for leaf_path, leaf in wanted.items():
        array = _read_as(path, archive, f"state{leaf_path}", describe(_to_plain(leaf)))
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
    with _open(path) as archive:
        meta = _read_meta(path, archive)
        if "trace" not in meta:
            raise ValueError(f"{path} was saved without a trace.")
        elements = tuple(
            _read_trace(path, archive, index, description)
            for index, description in enumerate(meta["trace"]["elements"])
        )
    return BatchedTrace(elements) if meta["trace"]["is_batch"] else elements[0]


def examine_saved_synthesis(file_path: str | os.PathLike) -> None:
    """Print what a file holds: versions, names, how far it got, and the shapes of its arrays.

    Args:
        file_path: A file that `save` or a checkpoint wrote.

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
    with _open(file_path) as archive:
        meta = _read_meta(file_path, archive)
        rows = {"plenoptax": meta["plenoptax"], "jax": meta["jax"]}
        rows |= meta.get("problem", {})
        for index, element in enumerate(meta.get("trace", {}).get("elements", [])):
            losses = _read(file_path, archive, f"trace[{index}].losses")
            facts = {"steps": len(losses) - 1, "loss": f"{losses[0]:.6g} -> {losses[-1]:.6g}"}
            for name, fact in (facts | element["provenance"]).items():
                rows[f"trace[{index}] {name}"] = fact
        rows |= {f"state{leaf_path}": text for leaf_path, text in meta["state"].items()}
        for name in archive.files:
            if name.startswith(("trace", "problem.")):
                rows[name] = describe(_read(file_path, archive, name))
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


def _read_trace(
    path: str | os.PathLike, archive: Any, index: int, description: dict[str, Any]
) -> Trace:
    def read(name: str) -> np.ndarray:
        entry, wanted = f"trace[{index}].{name}", description["arrays"][name]
        return _read_as(path, archive, entry, wanted)

    best_loss = description["best_loss"]
    return Trace(
        **{name: read(name) for name in _PLAIN},
        terms={name: read(f"terms.{name}") for name in description["terms"]},
        best_image=read("best_image") if description["has_best"] else None,
        best_loss=np.inf if best_loss is None else best_loss,
        provenance=description["provenance"],
    )


def _open(path: str | os.PathLike) -> Any:
    # NumPy leaves a damaged file open: it is given the content and not the file.
    content = io.BytesIO(pathlib.Path(path).read_bytes())
    try:
        return np.load(content, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a file that plenoptax saved, or it is damaged.") from error


def _read_meta(path: str | os.PathLike, archive: Any) -> dict[str, Any]:
    if not isinstance(archive, np.lib.npyio.NpzFile) or _META not in archive.files:
        raise ValueError(f"{path} is not a file that plenoptax saved.")
    meta = json.loads(str(_read(path, archive, _META)))
    if meta["format"] > _FORMAT:
        raise ValueError(
            f"{path} was saved by plenoptax {meta['plenoptax']} in format {meta['format']}; this "
            f"version reads up to format {_FORMAT}. Use that version or a later one."
        )
    return meta


def _read(path: str | os.PathLike, archive: Any, name: str) -> np.ndarray:
    if name not in archive.files:
        raise ValueError(f"{path} is damaged: {name} is missing.")
    try:
        array = archive[name]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {name} cannot be read.") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is damaged: {name} cannot be read.")
    return array


def _read_as(path: str | os.PathLike, archive: Any, name: str, wanted: str) -> np.ndarray:
    """As `_read`, and refuse another dtype or shape than the one that is written down."""
    array = _read(path, archive, name)
    if describe(array) != wanted:
        raise ValueError(f"{path} is damaged: {name} is {describe(array)} in place of {wanted}.")
    return array


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


def _write_atomically(path: pathlib.Path, content: memoryview) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist.")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise
