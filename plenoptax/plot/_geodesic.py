from typing import Any, TYPE_CHECKING

from .._rules import checked, INDEX
from ._drawn import draw_deviation
from ._view import view


if TYPE_CHECKING:
    import matplotlib.axes


@checked(batch_idx=INDEX, iteration=INDEX)
def geodesic_deviation_from_line(
    result: Any,
    natural_video: Any = None,
    ax: "matplotlib.axes.Axes | None" = None,
    *,
    batch_idx: int = 0,
    iteration: int | None = None,
    **kwargs: Any,
) -> "matplotlib.axes.Axes":
    """Plot the distance of a geodesic from the straight line between its ends, for its model.

    The horizontal axis shows the distance along the line, the vertical axis the distance from it,
    both in units of the distance between the ends. A path that is straight for the model lies on
    the horizontal axis. For comparison, the path that fades from one image to the other is shown;
    it is straight in pixels.

    Args:
        result: The result of `plenoptax.geodesic` or `plenoptax.conditional_geodesic`.
        natural_video: A sequence (time, channel, height, width) for comparison.
        ax: The axes to draw in, by default the current ones.
        batch_idx: The element of a batch.
        iteration: The step to show, counted from the end if negative; the nearest step with a
            recorded path is shown. The default is the returned path.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.plot`` for the line of the geodesic.

    Returns:
        The axes.

    Raises:
        ValueError: If the result is not of a geodesic, the iteration does not exist, or no path was
            recorded.

    Example:
        >>> import matplotlib.pyplot as plt, plenoptax as plx
        >>> first, last = plx.data.brick()[:, :32, :32], plx.data.grass()[:, :32, :32]
        >>> result = plx.geodesic(
        ...     first, last, plx.models.Gaussian(7), n_steps=4, max_steps=3, progress=False
        ... )
        >>> axes = plx.plot.geodesic_deviation_from_line(result)
        >>> [line.get_label() for line in axes.lines]
        ['pixel fade', 'Geodesic']
        >>> plt.close(axes.figure)
    """
    one = view(result, batch_idx)
    step = one.shown(iteration).step
    return draw_deviation(one, step, ax, natural_video=natural_video, **kwargs).axes
