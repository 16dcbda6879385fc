import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TYPE_CHECKING, TypeAlias

import numpy as np


if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import matplotlib.image
    import matplotlib.transforms

# At run time, an int is not a float.
Number: TypeAlias = float | int

# Inches. A slide is about 13 x 7.5, a column of a notebook about 10 wide.
_FIGURE_SIZE = (12.0, 8.0)
_LARGEST_ENLARGED = 5.5
_GAP = 0.15
_MARGIN = 0.1
# Points.
_FONT_SIZES = (11, 10, 9, 8, 7)
_TITLE_PAD = 4.0
_LINE_SPACING = 1.35
# The height of a title in fractions of its axes. Without it, matplotlib lays out all tick labels
# whenever it draws, to keep the title clear of labels above the axes. These axes have none there.
TITLE_HEIGHT = 1.0
# Pixels. Some versions of matplotlib round the size of an image up, so that a rounding error of
# 1e-12 stretches it by a whole pixel.
_HAIR = 1e-6


class WholePixels:
    """A locator of axes that makes each sample of their image a whole number of screen pixels.

    matplotlib calls an axes locator whenever it draws, so that this holds at every resolution,
    including that of a saved file. The samples are enlarged with the resolution, by the largest
    whole number that keeps the image within the place of the axes in the figure; the image is in
    the middle of that place. In formats without pixels (PDF, SVG) the image has its nominal size.

    Attributes:
        shape: The number of rows and columns of the image.
        zoom: The number of pixels for a sample at the resolution ``dpi``.
        dpi: The resolution of the figure when the image was added.
    """

    def __init__(self, shape: tuple[int, int], zoom: int, dpi: Number):
        self.shape = shape
        self.zoom = zoom
        self.dpi = dpi

    def __call__(self, axes: Any, renderer: object) -> "matplotlib.transforms.Bbox":
        """Return the place of the axes, in fractions of the figure."""
        from matplotlib.transforms import Bbox

        figure = axes.figure
        place = axes.get_position(original=True)
        rows, columns = self.shape
        width, height = figure.bbox.size
        factor = min(
            self.zoom * figure.dpi / self.dpi,
            place.width * width / columns,
            place.height * height / rows,
        )
        has_pixels = figure.canvas.fixed_dpi is None
        if has_pixels:
            factor = float(whole_zoom(factor))
        size = np.array([columns, rows]) * factor
        center = np.array([place.x0 + place.x1, place.y0 + place.y1]) / 2 * (width, height)
        corner = center - size / 2
        if has_pixels:
            size = np.maximum(np.round(size), 1) - _HAIR
            corner = np.round(corner + figure.bbox.p0) - figure.bbox.p0
        return Bbox.from_bounds(*(corner / (width, height)), *(size / (width, height)))


def pin_to_pixels(image: "matplotlib.image.AxesImage", zoom: int) -> None:
    """Place an image in its axes such that one sample is zoom x zoom pixels of the screen.

    The axes take the size of the image. In a file that is cropped when it is saved ("tight", as in
    notebooks), the axes are at fractions of a pixel, and matplotlib rounds each side of the image
    separately. Therefore the image is moved to the nearest whole pixel.
    """
    from matplotlib.transforms import Affine2DBase, TransformedBbox

    axes = image.axes
    shape = np.asarray(image.get_array()).shape[:2]
    axes.set_axes_locator(WholePixels(shape, zoom, axes.figure.dpi))

    class ToWholePixel(Affine2DBase):
        def get_matrix(self) -> np.ndarray:
            matrix = np.eye(3)
            if axes.figure.canvas.fixed_dpi is None:
                matrix[:2, 2] = np.floor(np.add(axes.bbox.p0, 0.5)) - axes.bbox.p0
            return matrix

    shift = ToWholePixel()
    shift.set_children(axes.bbox)
    image.set_transform(axes.transData + shift)
    image.set_clip_path(None)
    image.set_clip_box(TransformedBbox(axes.bbox, shift))


class Sheet(NamedTuple):
    """Images with titles, to be arranged in rows on a figure; all lengths are in pixels.

    Attributes:
        count: The number of images.
        height: The height of the largest image, at a zoom of 1.
        width: The width of the largest image, at a zoom of 1.
        text_height: The height that the titles need.
        text_width: The width that the titles need.
        dpi: The resolution of the figure.
    """

    count: int
    height: int
    width: int
    text_height: Number
    text_width: Number
    dpi: Number

    def largest_zoom(self, columns: int) -> Fraction | None:
        """Return the largest zoom with which the figure fits a screen, None if no zoom fits."""
        rows = -(-self.count // columns)
        gap, margin = _GAP * self.dpi, _MARGIN * self.dpi
        width, height = (length * self.dpi - 2 * margin + gap for length in _FIGURE_SIZE)
        cell_width = width / columns - gap
        cell_height = height / rows - gap - self.text_height
        if cell_width < max(self.text_width, 1) or cell_height < 1:
            return None
        enlarged = max(_LARGEST_ENLARGED * self.dpi / max(self.height, self.width), 1)
        return whole_zoom(min(cell_width / self.width, cell_height / self.height, enlarged))

    def arrange(self, columns: int | None, zoom: Fraction | None) -> tuple[int, Fraction]:
        """Choose the number of columns and the zoom if they are None.

        All images are in one row, unless that needs a zoom below 1.
        """
        if columns is not None:
            columns = min(columns, self.count)
            return columns, zoom or self.largest_zoom(columns) or Fraction(1)
        if zoom is not None:
            cell_width = max(float(self.width * zoom), self.text_width) / self.dpi + _GAP
            fitting = int((_FIGURE_SIZE[0] - 2 * _MARGIN + _GAP) / cell_width)
            return min(max(fitting, 1), self.count), zoom
        one_row = self.largest_zoom(self.count)
        if one_row is not None and one_row >= 1:
            return self.count, one_row
        zooms = {number: self.largest_zoom(number) for number in range(1, self.count + 1)}
        fitting = [(zoom, number) for number, zoom in zooms.items() if zoom is not None]
        if fitting:
            best, number = max(fitting)
            return number, best
        return math.ceil(math.sqrt(self.count)), Fraction(1)


def whole_zoom(factor: Number) -> Fraction:
    """Return the largest zoom, among 1, 2, ... and 1/2, 1/3, ..., that is at most the factor."""
    # Positions in figures are rounded fractions of the size of the figure.
    slack = 1e-6
    if factor >= 1 - slack:
        return Fraction(math.floor(factor + slack))
    return Fraction(1, math.ceil(1 / factor - slack))


def check_zoom(zoom: Number) -> Fraction:
    """Return the zoom as an exact fraction.

    Raises:
        ValueError: If it is neither an integer nor 1 over an integer.
    """
    if zoom > 0:
        whole = Fraction(round(zoom)) if zoom >= 1 else Fraction(1, round(1 / zoom))
        # Users often write 1 over an integer with three digits.
        if math.isclose(whole, zoom, rel_tol=1e-9 if zoom >= 1 else 2e-3):
            return whole
    raise ValueError(
        "zoom, the number of pixels for a sample, must be an integer or 1 over an integer, so that "
        f"the image is not interpolated, got {zoom}."
    )


def shrink(pixels: np.ndarray, zoom: Fraction) -> np.ndarray:
    """Return the means over the blocks of samples that a zoom below 1 shows as one pixel each.

    If the size is not a multiple of the block size, copies of the last row or column fill up the
    blocks at the bottom and at the right.
    """
    block = zoom.denominator
    if block == 1:
        return pixels
    rows, columns = (-(-size // block) for size in pixels.shape[:2])
    missing = [(0, rows * block - pixels.shape[0]), (0, columns * block - pixels.shape[1])]
    padded = np.pad(pixels, missing + [(0, 0)] * (pixels.ndim - 2), mode="edge")
    return padded.reshape(rows, block, columns, block, *pixels.shape[2:]).mean((1, 3))


def relative_zooms(shapes: Sequence[tuple[int, int]]) -> list[int]:
    """Return the factor that enlarges each image to the size of the largest one.

    It is 1 for an image if the size of the largest is not a multiple of its own.
    """
    height, width = max(shapes, key=math.prod)
    return [
        height // rows if height % rows == 0 and width * rows == height * columns else 1
        for rows, columns in shapes
    ]


def create_axes(
    shapes: Sequence[tuple[int, int]],
    titles: Sequence[str],
    columns: int | None,
    zoom: Fraction | None,
    cells: Sequence[int] | None = None,
) -> "tuple[list[matplotlib.axes.Axes], Fraction]":
    """Create a figure with one axes for each image, of the exact size of the image.

    Args:
        shapes: The heights and widths of the images in samples; all have the same zoom.
        titles: The texts above the images, which need room.
        columns: The number of images side by side. None is one row, or, if that needs a zoom below
            1, the number that allows the largest zoom.
        zoom: The zoom. None is the largest with which the figure fits a screen.
        cells: The place of each image, counted along the rows, if some places stay empty.

    Returns:
        The axes, and the zoom.
    """
    import matplotlib.pyplot as plt

    dpi = plt.rcParams["figure.dpi"]
    height, width = (int(size) for size in np.max(shapes, axis=0))
    cells = range(len(shapes)) if cells is None else cells
    sheet = Sheet(cells[-1] + 1, height, width, *_text_size(titles, _FONT_SIZES[-1], dpi), dpi)
    columns, zoom = sheet.arrange(columns, zoom)
    width = math.ceil(width * zoom)
    text_height, text_width = _text_size(titles, font_size(titles, width, dpi), dpi)
    cell_width = math.ceil(max(width, text_width)) + round(_GAP * dpi)
    cell_height = math.ceil(height * zoom + text_height) + round(_GAP * dpi)
    rows = -(-sheet.count // columns)
    margin = round(_MARGIN * dpi)
    figure_width = columns * cell_width - round(_GAP * dpi) + 2 * margin
    figure_height = rows * cell_height - round(_GAP * dpi) + 2 * margin
    # A thousandth of a pixel more, so that rounding does not cut off the last one.
    figure = plt.figure(figsize=((figure_width + 1e-3) / dpi, (figure_height + 1e-3) / dpi))
    axes = []
    for cell, (rows_of_image, columns_of_image) in zip(cells, shapes, strict=True):
        row, column = divmod(cell, columns)
        size = math.ceil(columns_of_image * zoom), math.ceil(rows_of_image * zoom)
        left = margin + column * cell_width + (math.ceil(max(width, text_width)) - size[0]) // 2
        top = figure_height - margin - row * cell_height - math.ceil(text_height)
        bounds = np.array([left, top - size[1], *size])
        axes.append(figure.add_axes(tuple(bounds / ([figure_width, figure_height] * 2))))
    return axes, zoom


def zoom_in_axes(
    axes: "matplotlib.axes.Axes", shape: tuple[int, int], zoom: Fraction | None
) -> Fraction:
    """Return the zoom with which to show an image in existing axes.

    Args:
        axes: The axes.
        shape: The height and width of the image in samples.
        zoom: The zoom. None is the largest that the axes have room for.

    Raises:
        ValueError: If the axes are too small for the zoom.
    """
    figure = root_figure(axes)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    width, height = place_size(axes)
    largest = whole_zoom(min(width / shape[1], height / shape[0]))
    if zoom is not None and zoom > largest:
        raise ValueError(
            f"The axes must have {shape[1] * zoom} x {shape[0] * zoom} pixels at a zoom of {zoom}, "
            f"got {int(width)} x {int(height)}. Make them larger, or give a zoom of at most "
            f"{largest} (None takes it)."
        )
    return zoom or largest


def root_figure(axes: "matplotlib.axes.Axes") -> "matplotlib.figure.Figure":
    """Return the top-level figure that contains the axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def place_size(axes: "matplotlib.axes.Axes") -> tuple[float, float]:
    """Return the width and height, in pixels, of the place of the axes in the figure."""
    place = axes.get_position(original=True)
    width, height = axes.figure.bbox.size
    return place.width * width, place.height * height


def font_size(titles: Sequence[str], width: Number, dpi: Number) -> int:
    """Return the largest font size, in points, with which titles fit a width.

    Args:
        titles: The texts, all in the same font size.
        width: The width in pixels.
        dpi: The resolution of the figure.
    """
    width_of_one_point = _text_size(titles, 1, dpi)[1]
    fitting = (points for points in _FONT_SIZES if points * width_of_one_point <= width)
    return next(fitting, _FONT_SIZES[-1])


def _text_size(titles: Sequence[str], points: int, dpi: Number) -> tuple[float, float]:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=10)
    lines = {line for title in titles for line in title.split("\n") if line.strip()}
    widths = (
        text_to_path.get_text_width_height_descent(line, font, line.count("$") > 1)[0] / 10
        for line in lines
    )
    number = max(title.count("\n") + 1 if title else 0 for title in titles)
    height = number * points * _LINE_SPACING + (_TITLE_PAD if number else 0)
    # Rounding to whole pixels makes letters wider by some percent.
    width = 1.03 * points * max(widths, default=0)
    return height * dpi / 72, width * dpi / 72
