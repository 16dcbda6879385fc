import os
import pathlib
import re

import jax

from ._problem import AnyProblem, Batched


def part_path(path: str | os.PathLike, index: int, count: int) -> pathlib.Path:
    """Return the file of one part of a batch: ``run.0of2.npz`` for ``run.npz``."""
    path = pathlib.Path(path)
    return path.with_name(f"{path.stem}.{index}of{count}{path.suffix}")


def is_share(problem: AnyProblem | None) -> bool:
    """Return whether other processes hold the rest of a batch."""
    return isinstance(problem, Batched) and problem.indices is not None and jax.process_count() > 1


def own_path(path: str | os.PathLike, problem: AnyProblem | None) -> pathlib.Path:
    """Return the file of a problem: that of this process, if others hold the rest of the batch."""
    path = pathlib.Path(path)
    if not is_share(problem) or re.search(r"\.\d+of\d+$", path.stem):
        return path
    return part_path(path, jax.process_index(), jax.process_count())


def find_parts(path: str | os.PathLike) -> dict[tuple[int, int], pathlib.Path]:
    """Return the files of the parts of a batch, by their index and the number of parts."""
    path = pathlib.Path(path)
    form = re.compile(rf"{re.escape(path.stem)}\.(\d+)of(\d+){re.escape(path.suffix)}")
    names = {other.name: other for other in path.parent.glob("*")}
    matches = {form.fullmatch(name): other for name, other in names.items()}
    return {(int(m[1]), int(m[2])): other for m, other in matches.items() if m is not None}


def check_number_of_parts(path: str | os.PathLike, count: int) -> None:
    """Raise an error if a checkpoint was written in another number of parts.

    Args:
        path: The checkpoint, without the number of a part.
        count: The number of processes, times that of slices.
    """
    others = sorted({number for _, number in find_parts(path)} - {count})
    if others:
        raise ValueError(
            f"The checkpoint {path} must be continued with as many processes and slices as it was "
            f"written, {others[0]} in all, got {count}. Take the former number, read the parts "
            "with plenoptax.io.load_result, or remove the files to start again."
        )
