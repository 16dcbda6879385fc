from collections.abc import Callable, Sequence
from typing import Any, TYPE_CHECKING

import numpy as np

from .._rules import checked, COUNT, INDEX, POSITIVE
from ._imshow import draw_panels, Look, panel_limits
from ._layout import root_figure
from ._panels import as_numbers, PlotComplex, split_into_panels


if TYPE_CHECKING:
    import matplotlib.animation
    import matplotlib.axes
    import matplotlib.colors
    import matplotlib.figure

# Megabytes. Matplotlib's own limit allows only about a hundred frames of noise.
_LARGEST_IN_NOTEBOOK = 100.0
# The level of zlib for the frames of HTML. Images of noise hardly compress: the default level, 6,
# takes twice the time and saves 4% of the bytes.
_COMPRESSION = 3


@checked(batch_idx=INDEX, channel_idx=INDEX, col_wrap=COUNT, framerate=POSITIVE)
def animshow(
    video: Any,
    framerate: float | int = 2.0,
    repeat: bool = False,
    vrange: str | Sequence[float | int] = "indep1",
    zoom: float | int | None = None,
    title: str | Sequence[str] | None = "",
    col_wrap: int | None = None,
    ax: "matplotlib.axes.Axes | None" = None,
    cmap: "str | matplotlib.colors.Colormap | None" = None,
    plot_complex: PlotComplex = "rectangular",
    batch_idx: int | None = None,
    channel_idx: int | None = None,
    as_rgb: bool = False,
    **kwargs: Any,
) -> "matplotlib.animation.FuncAnimation":
    """Show videos pixel by pixel, without interpolation.

    A notebook plays the animation if it is the last value of a cell. This needs no other program;
    neither does ``animation.to_jshtml()``, which returns HTML for a web page, nor
    ``animation.save("video.gif", "pillow")``. ``animation.save("video.mp4")`` needs ffmpeg. All
    frames are shown in the same way, with limits computed over all frames.

    Args:
        video: A video (time, channel, height, width) or (time, height, width), a batch of them
            (batch, time, channel, height, width), or a list of such with equally many frames.
        framerate: The number of frames per second.
        repeat: Whether to start again after the last frame.
        vrange: The values shown as the ends of the color map, or a mode; see `imshow`.
        zoom: The number of pixels for a sample; see `imshow`.
        title: One title for all videos, or a list with one for each; see `imshow`.
        col_wrap: The number of videos in a row; see `imshow`.
        ax: The axes to draw in, for one video. The default makes a figure.
        cmap: The color map; see `imshow`.
        plot_complex: How to show complex videos; see `imshow`.
        batch_idx: The only video of the batch to show.
        channel_idx: The only channel to show.
        as_rgb: Whether to show three or four channels as colors; see `imshow`.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.imshow``.

    Returns:
        The animation. It stops when it is deleted, so keep it in a variable.

    Raises:
        TypeError: If a video does not hold numbers.
        ValueError: If a video does not have such a shape, if the numbers of frames differ, or for
            the reasons that `imshow` has.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> video = np.eye(16)[:, None, None] * np.ones((16, 1))
        >>> animation = animshow(video, framerate=8, zoom=4)
        >>> "<img" in animation.to_jshtml()
        True
        >>> plt.close(animation._fig)
    """
    videos = [as_numbers(one) for one in (video if isinstance(video, list | tuple) else [video])]
    lengths = {_length(one) for one in videos}
    if len(lengths) != 1:
        raise ValueError(
            "Videos that are shown together must have the same number of frames, at least one, "
            f"got {sorted(lengths)} frames."
        )
    frames = [
        split_into_panels(
            [one.take(index, _time_axis(one)) for one in videos],
            plot_complex,
            batch_idx,
            channel_idx,
            as_rgb,
        )
        for index in range(*lengths)
    ]
    whole = [
        of_time[0]._replace(pixels=np.stack([panel.pixels for panel in of_time]))
        for of_time in zip(*frames, strict=True)
    ]
    look = Look(vrange, zoom, title, col_wrap, ax, cmap, kwargs)
    pictures = draw_panels(frames[0], panel_limits(whole, vrange), look)

    def show(index: int) -> None:
        for picture, panel in zip(pictures, frames[index], strict=True):
            picture.show(panel)

    figure = root_figure(pictures[0].image.axes)
    return animate(figure, show, len(frames), framerate, repeat)


def animate(
    figure: "matplotlib.figure.Figure",
    show: Callable[[int], None],
    count: int,
    framerate: float | int,
    repeat: bool,
) -> "matplotlib.animation.FuncAnimation":
    """Animate an existing figure, so that notebooks play it.

    Args:
        figure: The figure, which shows the first frame.
        show: A function that makes the figure show the frame of an index.
        count: The number of frames.
        framerate: The number of frames per second.
        repeat: Whether to start again after the last frame.
    """
    import matplotlib.pyplot as plt
    from matplotlib.animation import FuncAnimation, HTMLWriter

    if not framerate > 0:
        raise ValueError(f"framerate must be a positive number, got {framerate}.")

    class Animation(FuncAnimation):
        def save(self, filename: Any, writer: Any = None, *args: Any, **kwargs: Any) -> None:
            if isinstance(writer, HTMLWriter) and writer.frame_format == "png":
                chosen = kwargs.get("savefig_kwargs") or {}
                quickly = {"pil_kwargs": {"compress_level": _COMPRESSION}}
                kwargs["savefig_kwargs"] = quickly | chosen
            # Writing a frame draws it. Without this line, matplotlib draws it twice.
            vars(figure.canvas)["draw_idle"] = lambda: None
            try:
                super().save(filename, writer, *args, **kwargs)
            finally:
                del vars(figure.canvas)["draw_idle"]

        def _repr_html_(self) -> str:
            # Otherwise the notebook also shows the figure as a still image.
            plt.close(figure)
            with plt.rc_context({"animation.embed_limit": _LARGEST_IN_NOTEBOOK}):
                return self.to_jshtml()

    def step(index: int) -> list:
        show(index)
        return []

    return Animation(figure, step, frames=count, interval=1000 / framerate, repeat=repeat)


def _time_axis(video: np.ndarray) -> int:
    return video.ndim - 4 if video.ndim > 3 else 0


def _length(video: np.ndarray) -> int:
    if video.ndim not in (3, 4, 5) or video.size == 0:
        raise ValueError(
            "A video must have the shape (time, height, width), (time, channel, height, width) or, "
            "for a batch, (batch, time, channel, height, width), with no size of 0, got "
            f"{video.shape}."
        )
    return video.shape[_time_axis(video)]
