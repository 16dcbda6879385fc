from collections.abc import Mapping, Sequence
from typing import Any, TYPE_CHECKING

import numpy as np

from .._rules import checked, INDEX
from ._imshow import draw_panels, Look, panel_limits
from ._layout import root_figure
from ._panels import as_numbers, Panel, PlotComplex, split_into_panels


if TYPE_CHECKING:
    import matplotlib.colors
    import matplotlib.figure


@checked(batch_idx=INDEX, channel_idx=INDEX)
def pyrshow(
    pyr_coeffs: Any,
    vrange: str | Sequence[float | int] = "indep1",
    zoom: float | int | None = 1,
    show_residuals: bool = True,
    cmap: "str | matplotlib.colors.Colormap | None" = None,
    plot_complex: PlotComplex = "rectangular",
    batch_idx: int = 0,
    channel_idx: int = 0,
    **kwargs: Any,
) -> "matplotlib.figure.Figure":
    """Show the coefficients of a pyramid, each scale in a row, from fine to coarse.

    Coarser scales are enlarged by a whole number that makes them about as large as the finest.

    Args:
        pyr_coeffs: The output of `plenoptax.process.SteerablePyramidFreq`: bands (channel,
            orientation, height, width) under the numbers of their scales, and residuals (channel,
            height, width) under names; with or without a batch axis in front, or without the axis
            of channels. Or a list of such residuals, such as a Laplacian pyramid.
        vrange: The limits of the color map, or a mode; see `imshow`.
        zoom: The number of pixels for a sample of the finest scale. None is the largest with which
            the figure fits a screen.
        show_residuals: Whether to show the residuals, which have their own rows.
        cmap: The color map; see `imshow`.
        plot_complex: How to show complex bands; see `imshow`.
        batch_idx: The image of a batch.
        channel_idx: The channel.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.imshow``.

    Returns:
        The figure.

    Raises:
        TypeError: If the coefficients are not numbers.
        ValueError: If they do not have such shapes, or there is nothing to show.

    Example:
        >>> import jax.numpy as jnp
        >>> import matplotlib.pyplot as plt
        >>> from plenoptax.process import SteerablePyramidFreq
        >>> pyramid = SteerablePyramidFreq((32, 32), height=2, order=1)
        >>> figure = pyrshow(pyramid(jnp.ones((1, 32, 32))))
        >>> len(figure.axes)
        6
        >>> plt.close(figure)
    """
    if isinstance(pyr_coeffs, Mapping):
        levels = list(pyr_coeffs.items())
    else:
        levels = [(f"level {index}", level) for index, level in enumerate(pyr_coeffs)]
        show_residuals = True
    rows = []
    for key, level in levels:
        is_residual = isinstance(key, str)
        if show_residuals or not is_residual:
            bands = _bands(as_numbers(level), is_residual, batch_idx, channel_idx)
            name = str(key).replace("_", " ") if is_residual else f"scale {key}"
            heads = [name] if is_residual else [f"{name}, band {i}" for i in range(len(bands))]
            rows.append(_row(bands, heads, plot_complex))
    if not rows:
        raise ValueError("pyr_coeffs must hold coefficients to show, got none.")
    columns = max(len(row) for row in rows)
    cells = [
        index * columns + column for index, row in enumerate(rows) for column in range(len(row))
    ]
    panels, titles = zip(*(pair for row in rows for pair in row), strict=True)
    heights = [panel.pixels.shape[0] for panel in panels]
    enlarged = [max(round(max(heights) / height), 1) for height in heights]
    look = Look(vrange, zoom, titles, columns, None, cmap, kwargs)
    pictures = draw_panels(panels, panel_limits(panels, vrange), look, cells, enlarged)
    return root_figure(pictures[0].image.axes)


def _row(bands: np.ndarray, heads: list[str], plot_complex: PlotComplex) -> list[tuple[Panel, str]]:
    row = []
    for band, head in zip(bands, heads, strict=True):
        panels = split_into_panels(band, plot_complex, None, None, False)
        row += [(panel, head) for panel in panels]
    return row


def _bands(level: np.ndarray, is_residual: bool, batch_idx: int, channel_idx: int) -> np.ndarray:
    """Return the bands of a level, of shape (band, height, width)."""
    leading = level.ndim - (2 if is_residual else 3)
    if not 0 <= leading <= 2 or level.size == 0:
        raise ValueError(
            "Bands must have the shape (channel, orientation, height, width) and residuals "
            "(channel, height, width), with or without a batch axis in front, got coefficients of "
            f"shape {level.shape}."
        )
    indices = (("batch_idx", batch_idx), ("channel_idx", channel_idx))[2 - leading :]
    for name, index in indices:
        if not -len(level) <= index < len(level):
            raise ValueError(
                f"{name} must be between {-len(level)} and {len(level) - 1}, got {index}."
            )
        level = level[index]
    return level[None] if is_residual else level
