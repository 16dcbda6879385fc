import dataclasses
import warnings
from typing import Any, Literal

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._rules import checked, INDEX


class Info(eqx.Module):
    """The report of one step, or of many steps in a `Trace`, stacked by NumPy.

    Attributes:
        loss: The full objective at the point that the step evaluated.
        penalty: The penalty there, before its weight.
        gradient_norm: The norm of the gradient with respect to ``z``.
        pixel_change_norm: The norm of the change of the image, in units of pixel values.
        learning_rate: The learning rate of the optimizer, if it is known (see `Solver`); else NaN.
        num_evaluations: Evaluations of the objective: 1, plus those of an inner line search.
        accepted: Whether the point was accepted. Optimizers without trials accept finite points.
        terms: The other terms of the problem, and the index of the ``"stage"`` if it has stages.
    """

    loss: Float[Array | np.ndarray, "..."]
    penalty: Float[Array | np.ndarray, "..."]
    gradient_norm: Float[Array | np.ndarray, "..."]
    pixel_change_norm: Float[Array | np.ndarray, "..."]
    learning_rate: Float[Array | np.ndarray, "..."]
    num_evaluations: Int[Array | np.ndarray, "..."]
    accepted: Bool[Array | np.ndarray, "..."]
    terms: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Trace:
    """The recorded history of many steps, as NumPy arrays on the host.

    ``losses[i]`` is the objective at the image before update ``i``. A trace of n steps has n + 1
    losses, and the last belongs to the returned image. If a line search makes trials, ``losses``
    contains the rejected ones; `accepted` marks the accepted ones.

    Attributes:
        infos: The reports of all steps, stacked: an `Info` whose leaves have n + 1 rows. The last
            row is the report at the returned image, from a step whose update was dropped.
        images: The recorded images; the first axis matches `image_steps`.
        image_steps: For each recorded image, the index ``i`` of its loss.
        best_image: The accepted image with the smallest loss, if it was recorded.
        best_loss: The loss of `best_image`; infinite if there is none.
        provenance: How it was computed: solver, driver, versions, device, wall time, evaluations.
    """

    infos: Info
    images: np.ndarray
    image_steps: np.ndarray
    best_image: np.ndarray | None
    best_loss: float
    provenance: dict[str, Any]

    @property
    def losses(self) -> np.ndarray:
        """The full objective, n + 1 values."""
        return np.asarray(self.infos.loss)

    @property
    def penalties(self) -> np.ndarray:
        """The penalty before its weight, n + 1 values."""
        return np.asarray(self.infos.penalty)

    @property
    def terms(self) -> dict[str, np.ndarray]:
        """The other terms of the problem, n + 1 values of each."""
        return {name: np.asarray(term) for name, term in self.infos.terms.items()}

    @property
    def gradient_norm(self) -> np.ndarray:
        """The norm of the gradient with respect to ``z``, n values."""
        return np.asarray(self.infos.gradient_norm[:-1])

    @property
    def pixel_change_norm(self) -> np.ndarray:
        """The norm of each step's change of the image, n values."""
        return np.asarray(self.infos.pixel_change_norm[:-1])

    @property
    def learning_rate(self) -> np.ndarray:
        """The learning rate of the optimizer, n values; NaN where it is unknown."""
        return np.asarray(self.infos.learning_rate[:-1])

    @property
    def accepted(self) -> np.ndarray:
        """Whether each evaluated point was accepted, n values."""
        return np.asarray(self.infos.accepted[:-1])

    @property
    def num_evaluations(self) -> np.ndarray:
        """The number of evaluations of the objective in each step, n values."""
        return np.asarray(self.infos.num_evaluations[:-1])

    @property
    def num_steps(self) -> int:
        """The number of steps."""
        return len(self.infos.loss) - 1

    @property
    def elements(self) -> tuple["Trace"]:
        """This trace as a tuple, like `BatchedTrace.elements`."""
        return (self,)

    def __repr__(self) -> str:
        return (
            f"Trace({len(self)} steps, loss {self.losses[0]:.6g} -> {self.losses[-1]:.6g}, terms "
            f"{list(self.terms)}, {len(self.images)} images)"
        )

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.num_steps

    def __add__(self, more: "Trace") -> "Trace":
        """Join this trace with that of the run that continued from its end, as one trace.

        The last row of the first trace is dropped. It equals the first row of the second, unless a
        line search is under way; then the first trace ends with the image that its run returned.
        """
        better = self if self.best_loss <= more.best_loss else more
        images = [trace.images for trace in (self, more) if len(trace.image_steps)]
        return Trace(
            infos=jax.tree.map(lambda a, b: np.concatenate([a[:-1], b]), self.infos, more.infos),
            images=np.concatenate(images) if images else more.images,
            image_steps=np.concatenate([self.image_steps, more.image_steps + len(self)]),
            best_image=better.best_image,
            best_loss=better.best_loss,
            provenance=join_provenance(self.provenance, more.provenance),
        )

    def __getitem__(self, iteration: int) -> dict[str, Any]:
        """Return the values of one iteration; see `get_progress`."""
        return self.get_progress(iteration, warn=False)

    @checked(iteration=INDEX)
    def get_progress(
        self,
        iteration: int | None,
        iteration_selection: Literal["round", "floor", "ceiling"] = "round",
        *,
        warn: bool = True,
        final_image: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """Return the values of one iteration; `plenoptax.Result.get_progress` adds the final image.

        Args:
            iteration: From 0 to n, or counted from the end if negative; n, or None, is the returned
                image.
            iteration_selection: Which recorded image to take: the nearest ("round"; of two at the
                same distance, the one with the even index), the last before ("floor") or the first
                after ("ceiling").
            warn: Whether to warn if the recorded image is that of another iteration.
            final_image: The image of iteration n, which a run does not record; it counts as
                recorded.

        Returns:
            A dictionary: `iteration`, `losses`, `penalties`, `gradient_norm` and
            `pixel_change_norm` (None for iteration n, which has no update), and, if images were
            recorded, `image` and `image_step`.

        Raises:
            IndexError: If there is no such iteration, or no recorded image before or after it.
            ValueError: If `iteration_selection` is unknown.

        Warns:
            UserWarning: If the image is that of another iteration.
        """
        last = len(self)
        if iteration is None:
            iteration = last
        if not -last - 1 <= iteration <= last:
            raise IndexError(
                f"iteration must be from 0 to {last} (or from -1 to {-last - 1}), got {iteration}."
            )
        iteration = iteration % (last + 1)
        progress: dict[str, Any] = {"iteration": iteration}
        for name in ("losses", "penalties"):
            progress[name] = getattr(self, name)[iteration]
        for name in ("gradient_norm", "pixel_change_norm"):
            progress[name] = getattr(self, name)[iteration] if iteration < last else None
        if len(self.image_steps):
            images, steps = [*self.images], self.image_steps
            if final_image is not None:
                images, steps = [*images, final_image], np.append(steps, last)
            index = _select(steps, iteration, iteration_selection)
            progress["image"], progress["image_step"] = images[index], int(steps[index])
            if warn and progress["image_step"] != iteration:
                warnings.warn(
                    f"No image was recorded at iteration {iteration}; this is that of iteration "
                    f"{progress['image_step']}.",
                    UserWarning,
                    # The caller of `Result.get_progress`, which passes the final image.
                    stacklevel=2 if final_image is None else 3,
                )
        return progress


@dataclasses.dataclass(frozen=True)
class BatchedTrace:
    """The traces of a batch, one for each element.

    Attributes:
        elements: The traces.
    """

    elements: tuple[Trace, ...]

    @property
    def num_steps(self) -> int:
        """The number of steps of the element that took the most."""
        return max(element.num_steps for element in self.elements)

    @property
    def provenance(self) -> dict[str, Any]:
        """The provenance of the first element; the others differ only in their evaluations."""
        return self.elements[0].provenance

    def __len__(self) -> int:
        return len(self.elements)

    def __getitem__(self, index: int) -> Trace:
        return self.elements[index]

    def __add__(self, more: "BatchedTrace") -> "BatchedTrace":
        """Join traces element by element, as `Trace.__add__`."""
        pairs = zip(self.elements, more.elements, strict=True)
        return BatchedTrace(tuple(first + second for first, second in pairs))


def join_provenance(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of the second run, with the summed wall times and evaluations."""
    summed = {name: first[name] + second[name] for name in ("wall_time", "num_evaluations")}
    return {**first, **second, **summed}


def _select(steps: np.ndarray, iteration: int, selection: str) -> int:
    if selection == "round":
        distances = np.abs(steps - iteration)
        nearest = np.flatnonzero(distances == distances.min())
        # Of two, the even one, as in Python's rounding.
        return int(min(nearest, key=lambda index: index % 2))
    if selection == "floor":
        candidates = np.flatnonzero(steps <= iteration)[-1:]
    elif selection == "ceiling":
        candidates = np.flatnonzero(steps >= iteration)[:1]
    else:
        raise ValueError(
            f"iteration_selection must be 'round', 'floor' or 'ceiling', got {selection!r}."
        )
    if not len(candidates):
        where = "before" if selection == "floor" else "after"
        raise IndexError(f"No image was recorded at or {where} iteration {iteration}.")
    return int(candidates[0])
