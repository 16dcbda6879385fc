import dataclasses
import os
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._rules import checked, INDEX
from .._types import PyTree
from ..data import save_image
from ..solve import (
    AnyProblem,
    decode,
    State,
    Status,
    Trace,
)
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
        saved_image: The image of the last loss, where the file of a result was loaded without its
            problem; else None, for the state has it.

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

    problem: AnyProblem
    state: State
    trace: Any
    solver: Any = None
    saved_image: Array | None = None

    @property
    def image(self) -> Array:
        """The last accepted image, or the best one if it was recorded; in pixels.

        Batches have one axis more.
        """
        images = self._final_image()
        if all(element.best_image is None for element in self.trace.elements):
            return images
        final = self.problem.rows(images)
        pairs = zip(self.trace.elements, final, strict=True)
        best = [image if one.best_image is None else one.best_image for one, image in pairs]
        return self.problem.join([*map(jnp.asarray, best)], jnp.stack)

    @property
    def is_batch(self) -> bool:
        """Whether this is the result of several syntheses, ``result[i]`` that of one."""
        return self.state.num_steps.ndim > 0

    @property
    def elements(self) -> tuple["Result", ...]:
        """The results of the elements of a batch; of one synthesis, this one alone."""
        parts = (self.state, self.saved_image)
        return tuple(
            Result(problem, state, trace, self.solver, image)
            for trace, (problem, (state, image)) in zip(
                self.trace.elements,
                (self.problem.element(i, parts) for i in range(self.problem.num_elements)),
                strict=True,
            )
        )

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
        target than unrelated images are. Nor is a metamer that is the target itself, to the eye: it
        shows nothing of what the model does not see. For a batch, whether all elements are.
        """
        return self.report().success

    def __len__(self) -> int:
        """The number of elements in a batch."""
        if not self.is_batch:
            raise TypeError("This is the result of one synthesis, not of a batch.")
        return self.problem.num_elements

    def __getitem__(self, index: int) -> "Result":
        """The result of one element of a batch."""
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"The batch has {size} elements; got index {index}.")
        return self.elements[index]

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
        if not isinstance(self.trace, Trace):
            raise TypeError("This is the result of a batch; ask one element, such as result[0].")
        final_image = np.asarray(self._final_image())
        return self.trace.get_progress(
            iteration, iteration_selection, warn=warn, final_image=final_image
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
        unrelated images. All must. An image whose root mean square difference from the target is
        below half a gray level of 8 bits is no success: either the model leaves no other metamer,
        or the synthesis started at the target.

        Args:
            null_images: Unrelated images as the model takes them, at least 8, along the first axis:
                a sample of those that your claim is about. By default photographs that came with
                the package, for Portilla-Simoncelli with its default arguments, a weak null; for
                other models, and for images of several channels, nothing, and success remains
                unknown.

        Returns:
            The report, to be printed; for a batch one of all elements.

        Raises:
            ValueError: If there are fewer than 8 null images, or they have other channels than the
                target; or if the synthesis has no target to be like: competitions, geodesics and
                objectives of your own.

        References:
            Feather et al. (2023), Nature Neuroscience 26, 2017-2034, for nulls of unrelated images.
        """
        images, reports = self.problem.rows(self.image), []
        for index, trace in enumerate(self.trace.elements):
            problem, state = self.problem.element(index, self.state)
            image = jnp.asarray(images[index])
            reports.append(report_on(problem, self.solver, state, trace, image, null_images))
        return self.problem.join(
            reports,
            lambda reports: report_on_batch(reports, self.image, are_seeds=self.problem.are_equal),
        )

    def _final_image(self) -> Array:
        """The image of the last loss."""
        if self.saved_image is not None:
            return self.saved_image
        return decode(self.problem, self.state.accepted_z)
