import dataclasses
import os
import pathlib
import time
import warnings

from .._archive import Archive
from .._rules import NOT_NEGATIVE
from .._types import PyTree
from .._writing import check_writable
from ._files import check_synthesis, write_synthesis
from ._loop import State
from ._parts import own_path
from ._problem import AnyProblem
from ._trace import BatchedTrace, Trace


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often a run saves itself, so that it survives being killed.

    Before the first step the path is tried. An existing file must be an earlier checkpoint: other
    files are never overwritten. A save that fails is warned of once, and the run continues. Two
    runs must not share a path: the file is complete at all times, but it belongs to the run that
    saved last.

    Attributes:
        path: The file. Each save replaces the one before, atomically.
        seconds: The time between saves, at least 0, 30 by default: at most so much work is lost. A
            save costs one evaluation of the objective and the writing of the state.

    Example:
        >>> import plenoptax as plx
        >>> plx.Checkpoint("run.npz", seconds=60).seconds
        60
    """

    path: str | os.PathLike
    seconds: float = 30

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", NOT_NEGATIVE("seconds", self.seconds))


class CheckpointError(OSError):
    """The last checkpoint of a run could not be written.

    Attributes:
        result: The finished run. `run` leaves the tuple ``(problem, state, trace)``, the entry
            functions a `Result`.
    """

    result: PyTree


class Saver:
    """The saves of one run, or none."""

    def __init__(self, checkpoint: Checkpoint | str | os.PathLike | None, problem: AnyProblem):
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        if checkpoint is not None:
            path = own_path(checkpoint.path, problem)
            checkpoint = dataclasses.replace(checkpoint, path=path)
        self._checkpoint, self._problem = checkpoint, problem
        self._saved_at, self._has_warned = time.monotonic(), False
        if checkpoint is not None:
            _check_path(pathlib.Path(checkpoint.path))

    def is_due(self) -> bool:
        """Whether it is time for a save."""
        if self._checkpoint is None:
            return False
        return time.monotonic() - self._saved_at >= self._checkpoint.seconds

    def save(self, state: State, trace: Trace | BatchedTrace) -> None:
        """Save while running; warn once if that fails."""
        error = self._try(state, trace)
        if error is not None and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"The checkpoint could not be written, and the run continues without it: {error}",
                stacklevel=3,
            )

    def save_last(self, state: State, trace: Trace | BatchedTrace) -> CheckpointError | None:
        """Save at the end; return the error if that fails."""
        error = self._try(state, trace)
        if error is None:
            return None
        failure = CheckpointError(
            error.errno,
            "The run has finished, but its last checkpoint could not be written. The result "
            f"attribute of this error holds the result. {error.strerror}",
            error.filename,
        )
        failure.result = (self._problem, state, trace)
        failure.__cause__ = error
        return failure

    def _try(self, state: State, trace: Trace | BatchedTrace) -> OSError | None:
        if self._checkpoint is None:
            return None
        self._saved_at = time.monotonic()
        try:
            write_synthesis(self._checkpoint.path, state, trace, self._problem)
        except OSError as error:
            return error
        return None


def _check_path(path: pathlib.Path) -> None:
    """Refuse a path that cannot be written, or that is another file than a checkpoint."""
    check_writable(path)
    if not path.exists():
        return
    try:
        with Archive(path) as archive:
            check_synthesis(archive)
    except ValueError as error:
        raise ValueError(
            f"checkpoint must be a new path or an earlier checkpoint, got {path}, which is not "
            f"overwritten: {error}"
        ) from error
