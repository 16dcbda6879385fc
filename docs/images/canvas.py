"""What the scripts beside this one draw with: images pixel by pixel, text and axes."""

import json
import pathlib

import matplotlib


matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image


DPI = 100


GAP = 8


def write_numbers(path, numbers):
    """Write the numbers of a picture beside it."""
    path.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n")


def column_of_ends(index, side):
    """The left edge of a column of `page_of_ends`."""
    return 2 + (index + 1) * (side + GAP)


def page_of_ends(photograph, num_columns, what, head, foot):
    """A page for what models or layers see most and least, with a photograph at twice its size.

    Each column has four pictures of its size. Returns the page and the upper edges of the rows.
    """
    side = 2 * len(photograph)
    tops = [head + i * (side + GAP) for i in range(4)]
    page = Canvas(column_of_ends(num_columns, side) - GAP + 2, tops[-1] + side + foot)
    page.image(2, tops[1] + (side + GAP) // 2, photograph, 2)
    for y, words in (
        (tops[0] + side / 2, f"what the {what}\nsees most"),
        (tops[1] + 44, "photograph, with\nwhat is above"),
        (tops[2] + side - 44, "photograph, with\nwhat is below"),
        (tops[3] + side / 2, f"what the {what}\nsees least"),
    ):
        page.text(2 + side / 2, y, words, va="center", size=9)
    return page, tops


class Canvas:
    """A white page; places are in pixels, from its upper left corner."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        self.tiles = []

    def image(self, x, y, image, zoom=1):
        """A gray image, or one in color with channels first, in [0, 1].

        Each of its pixels is a square of so many, untouched.
        """
        levels = np.round(255 * np.clip(np.asarray(image, float), 0, 1)).astype(np.uint8)
        levels = np.moveaxis(levels, 0, -1) if levels.ndim == 3 else levels[..., None]
        self.tiles.append((x, y, np.repeat(np.repeat(levels, zoom, 0), zoom, 1)))

    def text(self, x, y, text, size=8, **options):
        """Text with the middle of its upper edge at a place, unless the options say otherwise."""
        options = {"ha": "center", "va": "top", "linespacing": 1.25} | options
        x, y = x / self.width, 1 - y / self.height
        return self.figure.text(x, y, text, fontsize=size, **options)

    def axes(self, x, y, width, height, **options):
        """Axes with their upper left corner at a place, and only the lower and left spine."""
        place = (x / self.width, 1 - (y + height) / self.height)
        place += (width / self.width, height / self.height)
        axes = self.figure.add_axes(place, **options)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7, length=2)
        return axes

    def save(self, path):
        """Write a PNG with as few bits for each pixel as lose nothing."""
        self.figure.canvas.draw()
        page = np.array(self.figure.canvas.buffer_rgba())[..., :3]
        for x, y, levels in self.tiles:
            page[y : y + levels.shape[0], x : x + levels.shape[1]] = levels
        is_gray = (page == page[..., :1]).all()
        picture = Image.fromarray(page[..., 0].copy() if is_gray else page)
        if not is_gray and (colors := picture.getcolors(256)):
            picture = picture.quantize(len(colors), dither=Image.Dither.NONE)
            assert (np.asarray(picture.convert("RGB")) == page).all()
        picture.save(path, optimize=True)
        plt.close(self.figure)
        print(
            f"{path}: {self.width} x {self.height}, {pathlib.Path(path).stat().st_size // 1000} kB"
        )
