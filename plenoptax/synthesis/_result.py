import dataclasses
import os
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from .._types import PyTree
from ..data import save_image
from ..solve import AbstractProblem, Batched, State, Status


@dataclasses.dataclass(frozen=True)
class Result:
    """What a synthesis came to. For a batch, ``result[i]`` is the result of one element.

    Attributes:
        problem: What was minimized.
        state: Where it stands; `plenoptax.run` goes on from it.
        trace: How it got there: a `Trace`, or a `BatchedTrace` with one for each element.

    Example:
        >>> import jax, plenoptax as plx
        >>> model = plx.models.Gaussian(7)
        >>> result = plx.metamer(
        ...     plx.data.brick(), model, key=jax.random.key(0), max_steps=2, progress=False
        ... )
        >>> bool(result.status == plx.Status.step_limit)
        True
    """

    problem: AbstractProblem | Batched
    state: State
    trace: Any

    @property
    def image(self) -> Array:
        """The last accepted image, or the best one if it was recorded; in pixels.

        Batches have one axis more.
        """
        if isinstance(self.problem, Batched):
            return jax.numpy.stack([element.image for element in self])
        if self.trace.best_image is not None:  # pyright: ignore[reportAttributeAccessIssue]
            return jax.numpy.asarray(self.trace.best_image)  # pyright: ignore[reportAttributeAccessIssue]
        return self.problem.decode(self.state.accepted_z)

    @property
    def status(self) -> Status:
        """How the synthesis stands: a member of `Status`, which ``Status[...]`` puts into words.

        In a batch it has an entry for each element; compare it with a member to tell which.
        """
        return self.state.status

    @property
    def success(self) -> bool | None:
        """Whether the synthesis has succeeded; None, for no criterion has been applied.

        A plateau is not success: judge the image by the loss that matters to you.
        """
        return None

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
        return Result(self.problem[index], state, self.trace[index])  # pyright: ignore[reportArgumentType, reportIndexIssue]

    def save_image(self, path: str | os.PathLike, **options: PyTree) -> None:
        """Write the image to a file.

        What the penalty let out of [0, 1] is clipped unless ``clip=False``, which refuses it;
        `report` says how much that is. The other options are those of
        `plenoptax.data.save_image`.
        """
        save_image(path, self.image, **{"clip": True, **options})

    def report(self) -> str:
        """What a person asks first, in a few lines."""
        if isinstance(self.problem, Batched):
            reports = [element.report() for element in self]
            return "\n\n".join(f"[{i}]\n{text}" for i, text in enumerate(reports))
        trace, image = self.trace, np.asarray(self.image)
        provenance = trace.provenance
        outside = max(0.0, float(-image.min()), float(image.max() - 1))
        lines = [
            f"status       {Status[self.status]}",
            f"loss         {trace.losses[0]:.6g} -> {trace.losses[-1]:.6g}",
            f"steps        {len(trace)}, {provenance['num_evaluations']} evaluations of the "
            f"objective, {provenance['wall_time']:.1f} s",
            f"range        the image leaves [0, 1] by at most {outside:.2g}",
            f"device       {provenance['device']}, driver {provenance['driver']}",
            "versions     " + ", ".join(f"{k} {v}" for k, v in provenance["versions"].items()),
        ]
        return "\n".join(lines)
