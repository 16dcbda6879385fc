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
    """The parts of one synthesis that plots show, from any source.

    Attributes:
        name: The name in titles.
        problem: The problem that was minimized, None if unknown.
        trace: The losses and the other records of every step, None if unknown.
        image: The returned image, None if unknown.
        step: The index of the loss of that image.
        images: The recorded images.
        image_steps: The indices of their losses.
        status: The reason why it stopped, None if unknown.
        distortions: The eigendistortions, by name.
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
        """The values shown as black and white: the range that the penalty allows, or [0, 1]."""
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
        """Return the index of an iteration, which may be counted from the end.

        None is the iteration of the returned image, which is the last image, unless the best one
        was recorded.

        Raises:
            ValueError: If the iteration does not exist.
        """
        if iteration is None:
            return self.step
        last = self.last
        if not -last - 1 <= iteration <= last:
            raise ValueError(
                f"iteration must be between 0 (the initial image) and {last} (the last one), or "
                f"between {-last - 1} and -1, got {iteration}."
            )
        return iteration % (last + 1)

    def shown(self, iteration: int | None) -> Shown:
        """Return the image nearest to an iteration, among the recorded and the returned images.

        Raises:
            ValueError: If the iteration does not exist, or there is no image to show for it.
        """
        index = self.index(iteration)
        if self.image is None:
            raise ValueError(
                "result must hold an image to show, got none. Give the result of a synthesis, or a "
                "trace with recorded images (record=10, for example, records every 10th)."
            )
        if index == self.step:
            return Shown(self.step, self.image)
        if len(self.image_steps) == 0:
            raise ValueError(
                f"iteration must be {self.step}, that of the returned image, because no images "
                f"were recorded, got {iteration}. Run with record=10, for example, to record every "
                "10th image."
            )
        nearest = int(np.argmin(np.abs(np.asarray(self.image_steps) - index)))
        if abs(self.step - index) < abs(int(self.image_steps[nearest]) - index):
            return Shown(self.step, self.image)
        return Shown(int(self.image_steps[nearest]), np.asarray(self.images[nearest]))

    def title(self, step: int) -> str:
        """Return the name, and the step if there are several."""
        return f"{self.name}, step {step}" if self.last > 0 else self.name


def view(source: Any, batch_idx: int = 0, distortion_scale: float | int = 5.0) -> View:
    """Collect the parts of a synthesis that plots show.

    Args:
        source: A result, a trace, a state, eigendistortions, or an array: an image, the images
            of several steps, or, with one axis, losses.
        batch_idx: The element of a batch; for eigendistortions, the index of one.
        distortion_scale: The factor of the eigendistortion that is added to the image.

    Raises:
        TypeError: If the source is not one of these.
        ValueError: If the element does not exist.
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
            f"batch_idx must be between {-size} and {size - 1} for a result of {size} {what}, got "
            f"{batch_idx}."
        )
    return batch_idx


def _element(batch_idx: int, size: int) -> str:
    """Return the words of the title for an element of a batch."""
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
            f"The state must hold an image, got {type(z).__name__}. Make a Result of the problem, "
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
    """Return the place of the eigendistortion of an index; negative ones count from the last.

    Raises:
        ValueError: If it was not computed.
    """
    known = [int(one) for one in eigendistortions.eigenindex]
    if index in known:
        return known.index(index)
    if -len(known) <= index < 0:
        return index % len(known)
    raise ValueError(
        f"The index of an eigendistortion must be one of those computed, {known}, or negative, got "
        f"{index}. Use -1 for the last one."
    )
