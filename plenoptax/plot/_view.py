from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from ..regularize import allowed_range_of
from ..solve import BatchedTrace, State
from ._panels import as_numbers


class Shown(NamedTuple):
    """The image of a synthesis at one step.

    Attributes:
        step: The index of its loss.
        image: The image.
    """

    step: int
    image: np.ndarray


class View(NamedTuple):
    """What there is to see of one synthesis, whatever it was taken from.

    Attributes:
        name: What it is called.
        problem: What was minimized, None where that is unknown.
        trace: The losses and what else was noted at every step, None where there is none.
        image: The image that it came to, None where that is unknown.
        step: The index of the loss of that image.
        images: The recorded images.
        image_steps: The indices of their losses.
        status: Why it stopped, None where that is unknown.
        distortions: What was added to an image, by name.
    """

    name: str
    problem: Any = None
    trace: Any = None
    image: np.ndarray | None = None
    step: int = 0
    images: Any = ()
    image_steps: Any = ()
    status: Any = None
    distortions: Mapping[str, np.ndarray] = MappingProxyType({})

    @property
    def allowed_range(self) -> tuple[float, float]:
        """The values of black and white: the range that the penalty allows, or [0, 1]."""
        problem = getattr(self.problem, "geodesic", self.problem)
        penalty = getattr(problem, "penalty_function", None)
        found = allowed_range_of(penalty, getattr(problem, "penalty_lambda", 0.0))
        return found if found is not None and np.isfinite(found).all() else (0.0, 1.0)

    @property
    def last(self) -> int:
        """The index of the last step."""
        if self.trace is not None:
            return len(self.trace.losses) - 1
        return max([self.step, *map(int, self.image_steps)])

    def index(self, iteration: int | None) -> int:
        """The index of an iteration, which may be counted from the end.

        None is the image that the synthesis returns, which is the last one, unless the best one was
        recorded.

        Raises:
            ValueError: If there was no such iteration.
        """
        if iteration is None:
            return self.step
        last = self.last
        if not -last - 1 <= iteration <= last:
            raise ValueError(
                f"iteration was {iteration}, but there were {last} steps; it must be between 0 "
                f"(the initial image) and {last} (the last one), or between {-last - 1} and -1."
            )
        return iteration % (last + 1)

    def shown(self, iteration: int | None) -> Shown:
        """The image nearest to an iteration, among the recorded ones and the one that is returned.

        Raises:
            ValueError: If there was no such iteration, or no image that could be shown for it.
        """
        index = self.index(iteration)
        if self.image is None:
            raise ValueError(
                "there is no image to show; give the result of a synthesis, or a trace with "
                "recorded images (record=10, say, records every 10th)."
            )
        if index == self.step:
            return Shown(self.step, self.image)
        if len(self.image_steps) == 0:
            raise ValueError(
                f"iteration was {iteration}, but no images were recorded, so that only the one "
                f"that was returned, of iteration {self.step}, can be shown; run with record=10, "
                "say, to record every 10th."
            )
        nearest = int(np.argmin(np.abs(np.asarray(self.image_steps) - index)))
        if abs(self.step - index) < abs(int(self.image_steps[nearest]) - index):
            return Shown(self.step, self.image)
        return Shown(int(self.image_steps[nearest]), np.asarray(self.images[nearest]))

    def title(self, step: int) -> str:
        """The name, and the step where there are several."""
        return f"{self.name}, step {step}" if self.last > 0 else self.name


def view(source: Any, batch_idx: int = 0, distortion_scale: float | int = 5.0) -> View:
    """What there is to see of a synthesis.

    Args:
        source: A result, a trace, a state, eigendistortions, or an array: an image, the images
            of several steps, or, of one axis, losses.
        batch_idx: The element of a batch; of eigendistortions, the index of one.
        distortion_scale: How much of an eigendistortion is added to the image.

    Raises:
        TypeError: If it is none of these.
        ValueError: If there is no such element.
    """
    if isinstance(source, View):
        return source
    if hasattr(source, "eigendistortions"):
        return _view_of_distortions(source, batch_idx, distortion_scale)
    problem = getattr(source, "problem", None)
    if problem is not None:
        element = ""
        if getattr(source, "is_batch", False):
            element = _element(batch_idx, len(source))
            source = source[batch_idx]
        else:
            _index(batch_idx, 1, "synthesis")
        name = type(source.problem).__name__ + element
        image = np.asarray(source.image)
        return _view_of_trace(name, source.problem, source.trace, image, source.status)
    if isinstance(source, BatchedTrace):
        name = "Image" + _element(batch_idx, len(source))
        return _view_of_trace(name, None, source[batch_idx], None, None)
    if hasattr(source, "losses"):
        return _view_of_trace("Image", None, source, None, None)
    if isinstance(source, State):
        return _view_of_state(source, batch_idx)
    array = as_numbers(source)
    if array.ndim == 1:
        return View("Loss", trace=_Losses(array), step=len(array) - 1)
    if array.ndim < 4:
        return View("Image", image=array)
    last = len(array) - 1
    return View("Image", None, None, array[-1], last, array, np.arange(last + 1))


class _Losses(NamedTuple):
    losses: np.ndarray


def _index(batch_idx: int, size: int, what: str) -> int:
    if not -size <= batch_idx < size:
        raise ValueError(
            f"batch_idx was {batch_idx}, but the result is of {size} {what}; it must be between "
            f"{-size} and {size - 1}."
        )
    return batch_idx


def _element(batch_idx: int, size: int) -> str:
    """What the title says of an element of a batch."""
    return f" (element {_index(batch_idx, size, 'syntheses') % size} of {size})"


def _view_of_trace(
    name: str, problem: Any, trace: Any, image: np.ndarray | None, status: Any
) -> View:
    images: Any = () if trace.images is None else trace.images
    steps: Any = () if trace.image_steps is None else trace.image_steps
    step = len(trace.losses) - 1
    if getattr(trace, "best_image", None) is not None:
        step = int(np.nanargmin(np.abs(trace.losses - trace.best_loss)))
        image = np.asarray(trace.best_image) if image is None else image
    elif image is None and len(steps):
        step, image = int(steps[-1]), np.asarray(images[-1])
    return View(name, problem, trace, image, step, images, steps, status)


def _view_of_state(state: State, batch_idx: int) -> View:
    name = "State"
    if np.ndim(state.num_steps):
        name += _element(batch_idx, len(state.num_steps))
        state = jax.tree.map(lambda leaf: leaf[batch_idx], state)
    z = state.accepted_z
    if not hasattr(z, "ndim"):
        raise TypeError(
            f"the state moves {type(z).__name__}, which is no image; make a Result of the problem, "
            "the state and the trace, and show that."
        )
    return View(name, image=np.asarray(z), step=int(state.num_steps), status=state.status)


def _view_of_distortions(source: Any, batch_idx: int, scale: float | int) -> View:
    distortions = np.asarray(source.eigendistortions)
    place = place_of_distortion(source, batch_idx)
    labels = [f"eigendistortion {int(index)}" for index in source.eigenindex]
    image = np.asarray(source.image) + np.asarray(scale, distortions.dtype) * distortions[place]
    named = dict(zip(labels, distortions, strict=True))
    return View(f"Image + {scale:g} * {labels[place]}", image=image, distortions=named)


def place_of_distortion(eigendistortions: Any, index: int) -> int:
    """Where the eigendistortion of an index is; negative ones count from the last.

    Raises:
        ValueError: If it was not computed.
    """
    known = [int(one) for one in eigendistortions.eigenindex]
    if index in known:
        return known.index(index)
    if -len(known) <= index < 0:
        return index % len(known)
    raise ValueError(
        f"the eigendistortion {index} was asked for, but those computed have the indices {known}; "
        "choose one of them, or -1 for the last."
    )
