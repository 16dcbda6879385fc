import dataclasses
import os
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array

from .._rules import checked, INDEX
from .._types import PyTree
from ..data import save_image
from ..solve import AbstractProblem, Batched, Solver, State, Status
from ._report import BatchReport, Report, report_on, report_on_batch


@dataclasses.dataclass(frozen=True)
class Result:
    """What a synthesis came to. For a batch, ``result[i]`` is the result of one element.

    Attributes:
        problem: What was minimized.
        state: Where it stands; `plenoptax.run` goes on from it.
        trace: How it got there: a `Trace`, or a `BatchedTrace` with one for each element.
        solver: What minimized it, with which `plenoptax.run` goes on from the state and
            `plenoptax.init` makes one like it, for `plenoptax.io.load`. None if the result was put
            together without.

    Example:
        >>> import jax, plenoptax as plx
        >>> model = plx.models.Gaussian(7)
        >>> result = plx.metamer(
        ...     plx.data.brick(), model, key=jax.random.key(0), max_steps=2, progress=False
        ... )
        >>> bool(result.status == plx.Status.step_limit)
        True
        >>> state, more = plx.run(result.problem, result.solver, result.state, 3)
        >>> len(result.trace + more)
        5
    """

    problem: AbstractProblem | Batched
    state: State
    trace: Any
    solver: Solver | None = None

    @property
    def image(self) -> Array:
        """The last accepted image, or the best one if it was recorded; in pixels.

        Batches have one axis more.
        """
        if isinstance(self.problem, Batched):
            return jax.numpy.stack([element.image for element in self])
        if self.trace.best_image is not None:  # pyright: ignore[reportAttributeAccessIssue]
            return jax.numpy.asarray(self.trace.best_image)  # pyright: ignore[reportAttributeAccessIssue]
        return self._final_image()

    @property
    def status(self) -> Status:
        """How the synthesis stands: a member of `Status`, which ``Status[...]`` puts into words.

        In a batch it has an entry for each element; compare it with a member to tell which.
        """
        return self.state.status

    @property
    def success(self) -> bool | None:
        """Whether the image is a metamer, as `report` judges it; None if nothing can be said.

        A plateau is not success, and neither is a small loss: the image has to be more like its
        target than unrelated images are. For a batch, whether all elements are.
        """
        if isinstance(self.problem, Batched):
            answers = [element.success for element in self]
            return None if None in answers else all(answers)
        return self.report().success  # pyright: ignore[reportAttributeAccessIssue]

    def __len__(self) -> int:
        """The number of elements in a batch."""
        if not isinstance(self.problem, Batched):
            raise TypeError("This is the result of one synthesis, not of a batch.")
        return self.problem.size

    def __getitem__(self, index: int) -> "Result":
        """The result of one element of a batch."""
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"The batch has {size} elements; got index {index}.")
        state = jax.tree.map(lambda leaf: leaf[index], self.state)
        return Result(self.problem[index], state, self.trace[index], self.solver)  # pyright: ignore[reportArgumentType, reportIndexIssue]

    @checked(iteration=INDEX)
    def get_progress(
        self,
        iteration: int | None,
        iteration_selection: Literal["round", "floor", "ceiling"] = "round",
        *,
        warn: bool = True,
    ) -> dict[str, Any]:
        """What is known of one iteration: its loss and norms, and the image if any were recorded.

        Args:
            iteration: From 0 to n, or from the end if negative; n, or None, is the final one.
            iteration_selection: See `plenoptax.Trace.get_progress`. The final image, that of the
                last loss, counts among the recorded ones.
            warn: Whether to warn when the image is that of another iteration.

        Returns:
            See `plenoptax.Trace.get_progress`.

        Raises:
            IndexError: If there is no such iteration, or no recorded image before it.
            ValueError: If `iteration_selection` is none of the three.
            TypeError: If this is the result of a batch.

        Warns:
            UserWarning: If the image is that of another iteration.
        """
        if isinstance(self.problem, Batched):
            raise TypeError("This is the result of a batch; ask one element, such as result[0].")
        return self.trace.get_progress(
            iteration,
            iteration_selection,
            warn=warn,
            final_image=np.asarray(self._final_image()),
        )

    def save_image(self, path: str | os.PathLike, **options: PyTree) -> None:
        """Write the image to a file.

        What the penalty let out of [0, 1] is clipped unless ``clip=False``, which refuses it;
        `report` says how much that is. The other options are those of
        `plenoptax.data.save_image`.
        """
        save_image(path, self.image, **{"clip": True, **options})

    def report(self, *, null_images: Array | None = None) -> Report | BatchReport:
        """What a person asks of a synthesis before showing its image to anybody.

        A representation is judged by groups of 16 numbers or more (for Portilla-Simoncelli, its
        groups of statistics), in units of their standard deviation over other images. A group
        passes where synthesis and target correlate more, and are less far apart, than any two
        unrelated images. All must.

        Args:
            null_images: Unrelated images as the model takes them, at least 8, along the first axis:
                a sample of those that your claim is about. By default photographs that came with
                the package, for Portilla-Simoncelli with its default arguments, a weak null; for
                other models nothing, and success remains unknown.

        Returns:
            The report, to be printed; for a batch one of all elements.

        Raises:
            ValueError: If there are fewer than 8 null images, or the synthesis has no target to be
                like: competitions, geodesics and objectives of your own.

        References:
            Feather et al. (2023), Nature Neuroscience 26, 2017-2034, for nulls of unrelated images.
        """
        if isinstance(self.problem, Batched):
            reports = [element.report(null_images=null_images) for element in self]
            return report_on_batch(reports, self.image)  # pyright: ignore[reportArgumentType]
        return report_on(self.problem, self.status, self.trace, self.image, null_images)

    def _final_image(self) -> Array:
        """The image of the last loss."""
        return self.problem.decode(self.state.accepted_z)  # pyright: ignore[reportAttributeAccessIssue]


def get_image(start: Array | Result | None) -> Array | None:
    """What to start from, of which a result shows its final image."""
    return start.image if isinstance(start, Result) else start
