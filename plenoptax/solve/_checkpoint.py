import dataclasses
import os
import pathlib
import time

from .._rules import NOT_NEGATIVE
from ._batch import Batched
from ._files import save
from ._problem import AbstractProblem
from ._state import State
from ._trace import BatchedTrace, Trace


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often a run saves itself, so that it survives being killed.

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


class CheckpointWriter:
    """A checkpoint and the clock that says when the next save is due."""

    def __init__(self, checkpoint: Checkpoint, problem: AbstractProblem | Batched):
        self._path = pathlib.Path(checkpoint.path)
        self._seconds = checkpoint.seconds
        self._problem = problem
        self._last = time.monotonic()
        if not self._path.parent.is_dir():
            raise ValueError(
                f"The checkpoint cannot be written: the folder {self._path.parent} does not exist."
            )

    def is_due(self) -> bool:
        """Whether the time between saves has passed."""
        return time.monotonic() - self._last >= self._seconds

    def write(self, state: State, trace: Trace | BatchedTrace) -> None:
        """Save, and start the clock anew."""
        save(self._path, state, trace, problem=self._problem)
        self._last = time.monotonic()


def as_writer(
    checkpoint: Checkpoint | str | os.PathLike | None, problem: AbstractProblem | Batched
) -> CheckpointWriter | None:
    """A writer for a checkpoint or a bare path."""
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)
    return CheckpointWriter(checkpoint, problem)
