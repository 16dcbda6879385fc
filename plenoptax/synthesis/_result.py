import dataclasses
import os
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._rules import checked, INDEX
from .._tree import describe
from .._types import PyTree
from ..data import save_image
from ..solve import (
    AnyProblem,
    decode,
    State,
    Status,
    Trace,
)
from ._null import Null
from ._report import BatchReport, cite, Report, report_on, report_on_batch


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a synthesis. For a batch, ``result[i]`` is the result of one element.

    Attributes:
        problem: The problem that was minimized.
        state: The final state; `plenoptax.run` continues from it.
        trace: The recorded history: a `Trace`, or a `BatchedTrace` with one for each element.
        solver: The solver that minimized it. `plenoptax.run` uses it to continue from the state,
            and `plenoptax.init` to build a state for `plenoptax.io.load`. None if the result was
            built by hand.
        saved_image: The image of the last loss, if the result was loaded from a file without its
            problem; else None, because the state contains the image.

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
        """The last accepted image, or the best image if it was recorded; in pixels.

        For a batch, it has an extra leading axis.
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
        """Whether this is the result of several syntheses (``result[i]`` is the result of one)."""
        return self.state.num_steps.ndim > 0

    @property
    def elements(self) -> tuple["Result", ...]:
        """The results of the elements of a batch; for one synthesis, this result alone."""
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
        """The status of the synthesis: a member of `Status`; ``Status[...]`` describes it in words.

        In a batch it has an entry for each element; compare it with a member to find which elements
        have that status.
        """
        return self.state.status

    @property
    def success(self) -> bool | None:
        """Whether the image is a metamer, judged by `report`; None if unknown.

        A plateau (no further decrease of the loss) is not success, and neither is a small loss: the
        image must be closer to its target than unrelated images are. A metamer that is visually the
        target itself is not a success either, because it shows nothing about the null space of the
        model. Success needs a null of at least 200 unrelated images: ask
        ``report(null=...).success``. For a batch: whether all elements succeeded.
        """
        return self.report().success

    def __repr__(self) -> str:
        """One line: the problem, the steps, the first and the last loss, and the image."""
        of = f"batch of {self.problem.num_elements}, " if self.is_batch else ""
        losses = [element.losses for element in self.trace.elements]
        first, last = (np.mean([one[end] for one in losses]) for end in (0, -1))
        return (
            f"Result({type(self.problem.posed).__name__}, {of}{self.trace.num_steps} steps, "
            f"loss {first:.6g} -> {last:.6g}, image {describe(self.image)})"
        )

    def __len__(self) -> int:
        """Return the number of elements in a batch."""
        if not self.is_batch:
            raise TypeError("The result must be that of a batch, got that of one synthesis.")
        return self.problem.num_elements

    def __getitem__(self, index: int) -> "Result":
        """Return the result of one element of a batch."""
        size = len(self)
        if not -size <= index < size:
            raise IndexError(
                f"The index must be within the {size} elements of the batch, got {index}."
            )
        return self.elements[index]

    @checked(iteration=INDEX)
    def get_progress(
        self,
        iteration: int | None,
        iteration_selection: Literal["round", "floor", "ceiling"] = "round",
        *,
        warn: bool = True,
    ) -> dict[str, Any]:
        """Return the loss and norms of one iteration, and an image if any were recorded.

        Args:
            iteration: From 0 to n, or counted from the end if negative; n, or None, is the final
                one.
            iteration_selection: Which recorded image to take; see `plenoptax.Trace.get_progress`.
                The final image, that of the last loss, counts as recorded.
            warn: Whether to warn if the image is that of another iteration.

        Returns:
            A dictionary of values; see `plenoptax.Trace.get_progress`.

        Raises:
            IndexError: If there is no such iteration, or no recorded image before it.
            ValueError: If `iteration_selection` is unknown.
            TypeError: If this is the result of a batch.

        Warns:
            UserWarning: If the image is that of another iteration.
        """
        if not isinstance(self.trace, Trace):
            raise TypeError(
                "The result must be that of one synthesis, got that of a batch. Ask one element, "
                "such as result[0]."
            )
        final_image = np.asarray(self._final_image())
        return self.trace.get_progress(
            iteration, iteration_selection, warn=warn, final_image=final_image
        )

    def save_image(self, path: str | os.PathLike, **options: PyTree) -> None:
        """Write the image to a file.

        Values outside [0, 1] are clipped; with ``clip=False`` they raise an error. `report` says
        how far the image leaves the range. The other options are those of
        `plenoptax.data.save_image`.
        """
        if self.is_batch:
            raise TypeError(
                "save_image must be called on one element of a batch, got the batch. Call "
                "result[i].save_image(path) for each i."
            )
        save_image(path, self.image, **{"clip": True, **options})

    def report(
        self, *, null: Null | Array | str | os.PathLike | None = None
    ) -> Report | BatchReport:
        """Return a summary of the run and a test of whether it succeeded.

        A representation is judged by groups of at least 16 values (for Portilla-Simoncelli, its
        groups of statistics), in units of their standard deviation over other images. A group
        passes if synthesis and target are more strongly correlated, and closer to each other, than
        any two unrelated images (the null). The synthesis fails if a group fails. It succeeds if
        every group passes and the null has at least 200 unrelated images; with fewer, success is
        unknown. An image whose root mean square difference from the target is below half a gray
        level of 8 bits is not a success: either the model allows no other metamer, or the synthesis
        started at the target.

        Args:
            null: A null that `plenoptax.null` made; or images along the first axis, or a folder, of
                which it makes one: a sample of the images that your claim is about. By default, for
                Portilla-Simoncelli with its default arguments, photographs that come with the
                package, which are too few for success; for other models, and for images of several
                channels, there is no default.

        Returns:
            The report, to be printed; for a batch one report on all elements.

        Raises:
            ValueError: If the null does not fit the target or cannot be made (see
                `plenoptax.null`); or if the problem has no target (competitions, geodesics and
                objectives of your own).

        References:
            Feather et al. (2023), Nature Neuroscience 26, 2017-2034, for nulls of unrelated images.
        """
        images, reports = self.problem.rows(self.image), []
        for index, trace in enumerate(self.trace.elements):
            problem, state = self.problem.element(index, self.state)
            image = jnp.asarray(images[index])
            reports.append(report_on(problem, self.solver, state, trace, image, null))
        return self.problem.join(
            reports,
            lambda reports: report_on_batch(reports, self.image, are_seeds=self.problem.are_equal),
        )

    def citations(self) -> str:
        """Return the papers of the method, the model and the metrics, in BibTeX.

        Parts without a ``citation`` are left out. `report` prints the same entries.
        """
        problem, _ = self.problem.element(0, self.state)
        return cite(problem)

    def _final_image(self) -> Array:
        """Return the image of the last loss."""
        if self.saved_image is not None:
            return self.saved_image
        return decode(self.problem, self.state.accepted_z)
