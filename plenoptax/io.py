"""Saving and loading. Files contain no code and can be read without plenoptax."""

import dataclasses
import os
import pathlib
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._archive import Archive, check_curves, look_up
from ._archive import DamagedFileError as DamagedFileError
from ._tree import describe
from .solve import AnyProblem, AnySolver, Batched, BatchedTrace, State, Trace
from .solve._files import check_synthesis, read_part, read_synthesis, write_synthesis
from .solve._files import load as load
from .solve._files import load_trace as load_trace
from .solve._parts import find_parts, own_path
from .solve._probe import LoadWarning as LoadWarning
from .synthesis import Result
from .synthesis._parts import join_results
from .synthesis._saved import AbstractSaved, read_saved


# Of a printed line.
_WIDTH = 100


def save(
    path: str | os.PathLike,
    saved: State | Result | AbstractSaved,
    trace: Trace | BatchedTrace | None = None,
    *,
    problem: AnyProblem | None = None,
) -> None:
    """Save a result, or a state and the trace that led to it, to a file.

    The file is a NumPy ``.npz`` archive: one array for each leaf of the state, named by its path,
    and a JSON text that describes them, with a digest over all of it. It contains no code and no
    pickle, so it can be read without plenoptax. It is written to a temporary file, which replaces
    the target when it is complete: an interrupted save leaves the earlier file.

    Args:
        path: The file. An existing file is replaced. The usual ending ``.npz`` is not added.
        saved: A `plenoptax.Result`, which brings its trace and its problem; another result, such as
            `plenoptax.Eigendistortions`; or a state, of one problem or of a batch.
        trace: The trace of a state, if it should be saved.
        problem: The problem of a state. The file then holds its parts in words, its images, its
            weights and its terms at two probe images, so that `load` can notice whether the problem
            has changed.

    Raises:
        TypeError: If `saved`, `trace` or `problem` has another type.
        ValueError: If a trace or a problem is given with a result.
        OSError: If the file cannot be written. The message names the file.

    Example:
        >>> import jax, tempfile, plenoptax as plx
        >>> result = plx.metamer(
        ...     plx.data.brick(), plx.models.Gaussian(7), key=jax.random.key(0), max_steps=3,
        ...     progress=False
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plx.io.save(folder + "/metamer.npz", result)
        ...     again = plx.io.load_result(folder + "/metamer.npz")
        >>> bool((again.image == result.image).all())
        True
    """
    if isinstance(saved, Result | AbstractSaved) and (trace, problem) != (None, None):
        raise ValueError(
            "trace and problem must be None for a result, which brings its own, got "
            f"{type(trace).__name__} and {type(problem).__name__}. Leave them out."
        )
    if isinstance(saved, AbstractSaved):
        saved.save(path)
        return
    if isinstance(saved, Result):
        saved, trace, problem = saved.state, saved.trace, saved.problem
    if not isinstance(saved, State) or not isinstance(trace, Trace | BatchedTrace | None):
        raise TypeError(
            "What is saved must be a result, or a state and its trace, got "
            f"{type(saved).__name__} and {type(trace).__name__}."
        )
    write_synthesis(own_path(path, problem), saved, trace, problem)


def load_result(
    path: str | os.PathLike,
    problem: AnyProblem | None = None,
    solver: AnySolver | None = None,
) -> Any:
    """Load the result of a synthesis, a batch of results, or eigendistortions from a file.

    Args:
        path: A file that `save` or a checkpoint wrote. If processes or slices wrote the parts of a
            batch, such as ``run.0of2.npz`` and ``run.1of2.npz``, the name without the part,
            ``run.npz``, loads the whole batch.
        problem: The problem, built as before; it is compared with the description in the file.
            Without it, the result has its image, trace, status and provenance; reports, objectives
            and further steps raise an error that asks for it.
        solver: The solver of the run. It is needed only to continue.

    Returns:
        A `plenoptax.Result`, `plenoptax.Eigendistortions` or another result, bit for bit as saved.

    Raises:
        FileNotFoundError: If the file does not exist.
        DamagedFileError: If plenoptax did not save the file, or it has changed since.
        ValueError: If the file was saved without a trace, has another format, or belongs to another
            problem or solver.

    Warns:
        LoadWarning: If a problem is given, but the file was saved without one.

    Example:
        >>> import jax, tempfile, plenoptax as plx
        >>> model = plx.models.Gaussian(7)
        >>> named = {"key": jax.random.key(0), "optimizer": plx.lbfgs(), "progress": False}
        >>> result = plx.metamer(plx.data.brick(), model, max_steps=3, **named)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plx.io.save(folder + "/metamer.npz", result)
        ...     again = plx.io.load_result(
        ...         folder + "/metamer.npz", plx.Metamer(plx.data.brick(), model), plx.lbfgs()
        ...     )
        >>> state, more = plx.run(again.problem, again.solver, again.state, 2)
        >>> len(again.trace + more)
        5
    """
    path = own_path(path, problem)
    if not path.exists() and (parts := find_parts(path)):
        return _load_parts(path, parts, problem, solver)
    with Archive(path) as archive:
        if archive.meta.get("kind") == "synthesis":
            check_synthesis(archive)
            return Result(*read_synthesis(archive, problem, solver))
        return read_saved(archive)


def _load_parts(
    path: pathlib.Path,
    parts: Mapping[tuple[int, int], pathlib.Path],
    problem: AnyProblem | None,
    solver: AnySolver | None,
) -> Result:
    """Load the whole of a batch that processes or slices saved in parts."""
    counts = {count for _, count in parts}
    count = max(counts)
    missing = [i for i in range(count) if (i, count) not in parts]
    if missing or len(counts) > 1:
        found = f"no part {missing}" if missing else f"files of {sorted(counts)} parts"
        raise ValueError(
            f"All parts of {path}, {count} files, must be there, got {found}. Wait until all "
            "processes have saved, or remove the files of another run."
        )
    results, elements = [], []
    for i in range(count):
        with Archive(parts[i, count]) as archive:
            check_synthesis(archive)
            indices, total = read_part(archive) or ([], 0)
            of_part = problem.take(np.asarray(indices)) if isinstance(problem, Batched) else None
            results.append(Result(*read_synthesis(archive, of_part, solver)))
            elements.append(np.asarray(indices))
    found = np.unique(np.concatenate(elements))
    if not total or not np.array_equal(found, np.arange(total)):
        raise ValueError(
            f"The parts of {path} must hold all elements of one batch, got {found.tolist()} of "
            f"{total}. Remove the files of other runs."
        )
    whole = dataclasses.replace(results[0].problem, size=total) if problem is None else problem
    return join_results(results, elements, whole)


def examine_saved_synthesis(file_path: str | os.PathLike) -> None:
    """Print the contents of a file: versions, problem, optimizer, progress, and shapes of arrays.

    Files of older formats, which cannot be loaded, can be examined too.

    Args:
        file_path: A file that `save`, a checkpoint or the method `save` of a result wrote.

    Raises:
        FileNotFoundError: If the file does not exist.
        DamagedFileError: If plenoptax did not save the file, or it has changed since.

    Example:
        >>> import jax, tempfile, plenoptax as plx
        >>> problem = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7))
        >>> state = plx.init(problem, plx.lbfgs(), key=jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plx.io.save(folder + "/state.npz", state, problem=problem)
        ...     plx.io.examine_saved_synthesis(folder + "/state.npz")
        file
          format     4
          plenoptax  ...
          jax        ...
        <BLANKLINE>
        problem
          problem           Metamer
          model             Gaussian(std=[3.0], kernel_size=(7, 7), pad_mode='reflect')
          ...
        arrays
          state.z  ...  float32[1, 256, 256]
          ...
    """
    with Archive(file_path, oldest=1) as archive, archive.reading():
        meta = archive.meta
        sections: dict[str, Mapping[str, Any]] = {
            "file": {"format": meta["format"]}
            | {name: look_up(meta, name, str) for name in ("plenoptax", "jax")},
            "problem": look_up(meta, "problem", dict) if "problem" in meta else {},
            **_run_sections(archive),
        }
        sections |= _result_section(archive)
        sections["arrays"] = {name: describe(archive.read(name)) for name in archive.arrays}
        texts = [_set(title, facts) for title, facts in sections.items() if facts]
    print("\n\n".join(texts))


def _run_sections(archive: Archive) -> dict[str, Mapping[str, Any]]:
    """Return the facts of the run, and the progress of each element."""
    if "trace" not in archive.meta:
        return {}
    elements = _elements_of_trace(archive)
    # Those of the other elements differ in their evaluations alone.
    run = {**elements[0][1]}
    run.pop("num_evaluations", None)
    if "problem" in archive.meta:
        run.pop("problem", None)
    progress = {}
    for index, (losses, provenance) in enumerate(elements):
        progress[f"[{index}]"] = (
            f"loss {losses[0]:.6g} -> {losses[-1]:.6g} in {len(losses) - 1} steps, "
            f"{look_up(provenance, 'num_evaluations', int)} evaluations"
        )
    return {"run": run, "progress": progress}


def _elements_of_trace(archive: Archive) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Return the losses and the provenance of each element."""
    trace = look_up(archive.meta, "trace", dict)
    if archive.meta["format"] < 3:
        found = look_up(trace, "elements", list)
        names = [f"trace[{index}].losses" for index in range(len(found))]
        provenances = [look_up(one, "provenance", dict) for one in found]
    else:
        # No trace is built: other versions may record other numbers.
        parts = look_up(trace, "named", dict)
        texts = look_up(parts["elements"], "tuple", list) if "elements" in parts else [trace]
        found = [look_up(one, "named", dict) for one in texts]
        infos = [look_up(look_up(one, "infos", dict), "named", dict) for one in found]
        names = [look_up(look_up(one, "loss", dict), "array", str) for one in infos]
        provenances = [_plain(look_up(one, "provenance", dict)) for one in found]
    losses = list(map(archive.read, names))
    check_curves(losses)
    return list(zip(losses, provenances, strict=True))


def _result_section(archive: Archive) -> dict[str, Mapping[str, Any]]:
    """Return the facts of a result that is not a synthesis."""
    meta = archive.meta
    if meta["format"] < 3:
        if "eigendistortions" not in meta:
            return {}
        found = look_up(meta, "eigendistortions", dict)
        parts = [look_up(found, name, dict) for name in ("facts", "provenance") if name in found]
        return {"eigendistortions": {name: fact for part in parts for name, fact in part.items()}}
    if "result" not in meta:
        return {}
    named = look_up(look_up(meta, "result", dict), "named", dict)
    facts = {name: _plain(packed) for name, packed in named.items()}
    if "provenance" in facts:
        facts |= look_up(facts, "provenance", dict)
        del facts["provenance"]
    arrays = {name for name, fact in facts.items() if name in archive.arrays}
    return {
        look_up(meta, "kind", str): {
            name: fact for name, fact in facts.items() if name not in arrays
        }
    }


def _plain(packed: Any) -> Any:
    """Return a packed value (see `plenoptax._packing.pack`) as a person reads it."""
    if not isinstance(packed, dict):
        return packed
    if "named" in packed and "class" not in packed:
        return {name: _plain(part) for name, part in look_up(packed, "named", dict).items()}
    if "float" in packed:
        return float(look_up(packed, "float", str))
    shown = [packed[name] for name in ("member", "class", "tuple") if name in packed]
    return shown[0] if shown else look_up(packed, "is", str)


def _set(title: str, facts: Mapping[str, Any]) -> str:
    """Format a title and the facts under it, one per row."""
    rows = _flat(facts)
    width = max(map(len, rows))
    indent = " " * (width + 4)
    texts = (
        textwrap.fill(
            f"  {name:{width}}  {text}",
            _WIDTH,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, text in rows.items()
    )
    return "\n".join([title, *texts])


def _flat(facts: Mapping[str, Any]) -> dict[str, str]:
    rows = {}
    for name, fact in facts.items():
        if isinstance(fact, dict):
            rows |= {f"{name}.{part}": text for part, text in _flat(fact).items()}
        else:
            text = f"{fact:.6g}" if isinstance(fact, float) else str(fact)
            rows[name] = " ".join(text.split())
    return rows
