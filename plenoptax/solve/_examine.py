import os
import textwrap
from collections.abc import Mapping
from typing import Any

from .._tree import describe
from ._archive import Archive


_WIDTH = 100


def examine_saved_synthesis(file_path: str | os.PathLike) -> None:
    """Print what a file holds: versions, problem, optimizer, progress, and shapes of arrays.

    It also reads files of older formats, which cannot be loaded.

    Args:
        file_path: A file that `save`, a checkpoint or `plenoptax.Eigendistortions.save` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no such file, or is damaged.

    Example:
        >>> import jax, tempfile, plenoptax as plx
        >>> problem = plx.Metamer(plx.data.brick(), plx.models.Gaussian(7))
        >>> state = plx.init(problem, plx.lbfgs(), key=jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plx.io.save(folder + "/state.npz", state, problem=problem)
        ...     plx.io.examine_saved_synthesis(folder + "/state.npz")
        file
          format     2
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
    with Archive(file_path, oldest=1) as archive:
        meta = archive.meta
        sections: dict[str, Mapping[str, Any]] = {
            "file": {name: meta[name] for name in ("format", "plenoptax", "jax")},
            "problem": meta.get("problem", {}),
            **_run_sections(archive),
        }
        found = meta.get("eigendistortions", {})
        sections["eigendistortions"] = found.get("facts", {}) | found.get("provenance", {})
        sections["arrays"] = {name: describe(archive.read(name)) for name in archive.names}
    print("\n\n".join(_set(title, facts) for title, facts in sections.items() if facts))


def _run_sections(archive: Archive) -> dict[str, Mapping[str, Any]]:
    """How the run came about, and how far each element got."""
    elements = archive.meta.get("trace", {}).get("elements", [])
    if not elements:
        return {}
    # Those of the other elements differ in their evaluations alone.
    run = {**elements[0]["provenance"]}
    run.pop("num_evaluations", None)
    if "problem" in archive.meta:
        run.pop("problem", None)
    progress = {}
    for index, element in enumerate(elements):
        losses = archive.read(f"trace[{index}].losses")
        progress[f"[{index}]"] = (
            f"loss {losses[0]:.6g} -> {losses[-1]:.6g} in {len(losses) - 1} steps, "
            f"{element['provenance']['num_evaluations']} evaluations"
        )
    return {"run": run, "progress": progress}


def _set(title: str, facts: Mapping[str, Any]) -> str:
    """A title and the facts under it, one a row."""
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
