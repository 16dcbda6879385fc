from typing import TYPE_CHECKING

import numpy as np

from ..synthesis import CrossTable


if TYPE_CHECKING:
    import matplotlib.axes

# Inches.
_CELL, _LABELS = (1.15, 0.55), (1.9, 1.6)
# Of a color map from 0 to 1: above it, the text is dark.
_BRIGHT = 0.55


def cross_table(
    table: CrossTable, *, ax: "matplotlib.axes.Axes | None" = None
) -> "matplotlib.axes.Axes":
    """Draw how similar each model finds the metamers of each model to their targets.

    A cell shows the median percentile over images, and below it the lowest and the highest. Cells
    without a number belong to images that are no metamer of their own model. Frames mark the model
    that the metamers were made for.

    Args:
        table: The table of `plenoptax.compare`.
        ax: The axes, by default those of a new figure.

    Returns:
        The axes.

    Example:
        >>> import jax, matplotlib.pyplot as plt, plenoptax as plx
        >>> image, other = plx.data.brick()[:, :16, :16], plx.data.grass()[:, :16, :16]
        >>> models = {"blur": plx.models.Gaussian(3)}
        >>> images = jax.random.uniform(jax.random.key(0), (8, 1, 16, 16))
        >>> nulls = {"blur": plx.null(images, models["blur"])}
        >>> result = plx.metamer(
        ...     image, models["blur"], key=jax.random.key(0), max_steps=9, progress=False
        ... )
        >>> table = plx.compare(
        ...     {"blur": result}, models, nulls, unrelated=other, key=jax.random.key(1)
        ... )
        >>> ax = plx.plot.cross_table(table)
        >>> len(ax.texts)
        5
        >>> plt.close(ax.figure)
    """
    import matplotlib.pyplot as plt

    rows, columns = list(table.percentiles), list(table.nulls)
    if ax is None:
        size = [
            per * count + more
            for per, count, more in zip(_CELL, (len(columns), len(rows)), _LABELS, strict=True)
        ]
        ax = plt.figure(figsize=size, layout="constrained").add_subplot()
    values = np.asarray([[_median(table.percentiles[r][c]) for c in columns] for r in rows])
    ax.imshow(values, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            _write(ax, j, i, table.percentiles[row][column])
            if row == column:
                frame = plt.Rectangle((j - 0.48, i - 0.46), 0.96, 0.92, fill=False, lw=2.5)
                ax.add_patch(frame).set_edgecolor("tab:red")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), [_label(row, table) for row in rows])
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set(xlabel="judged by", ylabel="metamers of")
    ax.set_title(
        "percentile of similarity to the target:\nmedian, and lowest to highest, over images"
    )
    ax.tick_params(length=0)
    return ax


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")


def _label(row: str, table: CrossTable) -> str:
    failed = sum(one is False for one in table.success.get(row, ()))
    return f"{row}\n{failed} of {len(table.success[row])} fail" if failed else row


def _write(ax: "matplotlib.axes.Axes", x: int, y: int, values: np.ndarray) -> None:
    known = values[~np.isnan(values)]
    middle = _median(values)
    text = "-" if not known.size else f"{middle:.3g}\n{known.min():.3g} to {known.max():.3g}"
    is_bright = known.size and middle / 100 > _BRIGHT
    ax.text(x, y, text, ha="center", va="center", color="black" if is_bright else "white")
