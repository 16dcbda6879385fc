from typing import Any, NamedTuple

import numpy as np

from ..solve import Batched


class Shown(NamedTuple):
    """The image of a synthesis at one step.

    Attributes:
        step: The index of its loss.
        image: The image.
    """

    step: int
    image: np.ndarray


def element(result: Any, batch_idx: int) -> Any:
    """The result of one synthesis of a batch; the result itself where it is of one synthesis.

    Raises:
        ValueError: If there is no such element.
    """
    is_batch = isinstance(result.problem, Batched)
    size = len(result) if is_batch else 1
    if not -size <= batch_idx < size:
        raise ValueError(
            f"batch_idx was {batch_idx}, but the result is of {size} "
            f"synthes{'is' if size == 1 else 'es'}; it must be between {-size} and {size - 1}."
        )
    return result[batch_idx] if is_batch else result


def loss_index(result: Any, iteration: int | None) -> int:
    """The index of the loss of an iteration, which may be counted from the end.

    None is the image that the synthesis returns, which is the last one, unless the best one was
    recorded.

    Raises:
        ValueError: If there was no such iteration.
    """
    losses = result.trace.losses
    last = len(losses) - 1
    if iteration is None:
        if getattr(result.trace, "best_image", None) is None:
            return last
        return int(np.nanargmin(np.abs(losses - result.trace.best_loss)))
    if not -last - 1 <= iteration <= last:
        raise ValueError(
            f"iteration was {iteration}, but there were {last} steps; it must be between 0 (the "
            f"initial image) and {last} (the last one), or between {-last - 1} and -1."
        )
    return iteration % (last + 1)


def shown(result: Any, iteration: int | None) -> Shown:
    """The image nearest to an iteration, among the recorded ones and the one that is returned.

    Raises:
        ValueError: If there was no such iteration, or no image was recorded and the iteration is
            not that of the image which is returned.
    """
    index = loss_index(result, iteration)
    final = loss_index(result, None)
    if index == final:
        return Shown(final, np.asarray(result.image))
    steps = result.trace.image_steps
    if steps is None or len(steps) == 0:
        raise ValueError(
            f"iteration was {iteration}, but no images were recorded, so that only the one that "
            f"was returned, of iteration {final}, can be shown; run with record=10, say, to record "
            "every 10th."
        )
    nearest = int(np.argmin(np.abs(np.asarray(steps) - index)))
    if abs(final - index) < abs(int(steps[nearest]) - index):
        return Shown(final, np.asarray(result.image))
    return Shown(int(steps[nearest]), np.asarray(result.trace.images[nearest]))


def name_of(result: Any) -> str:
    """What the method of synthesis is called."""
    return type(result.problem).__name__
