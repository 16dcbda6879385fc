import io
import subprocess
import sys

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from plenoptax.plot import imshow
from plenoptax.plot._layout import check_zoom, shrink, whole_zoom


def rendered(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).astype(int)


def saved(figure, **options):
    file = io.BytesIO()
    figure.savefig(file, format="png", **options)
    file.seek(0)
    return np.round(plt.imread(file) * 255).astype(int)


def expected_pixels(figure, zoom):
    """What the first image must look like: each sample as a block of its color."""
    image = figure.axes[0].images[0]
    colors = image.to_rgba(image.get_array(), bytes=True).astype(int)
    return colors.repeat(zoom, 0).repeat(zoom, 1)


def find(buffer, block):
    """The corners of the places where the block lies in the buffer, up to one gray level."""
    height, width = block.shape[:2]
    candidates = np.abs(buffer[: -height + 1, : -width + 1] - block[0, 0]).max(-1) <= 1
    return [
        (y, x)
        for y, x in np.argwhere(candidates)
        if np.abs(buffer[y : y + height, x : x + width] - block).max() <= 1
    ]


def image_extent(figure, index=0):
    return figure.axes[index].get_window_extent().size


@pytest.mark.parametrize("dpi", [50, 100, 133])
@pytest.mark.parametrize(("height", "width"), [(7, 5), (33, 21), (16, 16)])
def test_imshow_pixels_are_blocks(dpi, height, width, rng):
    with plt.rc_context({"figure.dpi": dpi}):
        for zoom in (1, 2, 3, 7):
            figure = imshow(rng.random((height, width)), zoom=zoom, title="t")
            assert len(find(rendered(figure), expected_pixels(figure, zoom))) == 1
            plt.close(figure)


@pytest.mark.parametrize("dpi", [72, 125, 200])
@pytest.mark.parametrize("crop", [None, "tight"])
def test_imshow_pixels_are_blocks_in_files(dpi, crop, rng):
    with plt.rc_context({"figure.dpi": dpi}):
        for title in ("t", None, "a title"):
            figure = imshow(rng.random((12, 9)), zoom=3, title=title)
            for times in (1, 2, 3):
                buffer = saved(figure, dpi=times * dpi, bbox_inches=crop)
                assert len(find(buffer, expected_pixels(figure, 3 * times))) == 1
            plt.close(figure)


def test_imshow_file_of_odd_resolution_has_the_next_smaller_whole_blocks(rng):
    figure = imshow(rng.random((12, 9)), zoom=4)
    buffer = saved(figure, dpi=1.6 * figure.dpi)
    assert len(find(buffer, expected_pixels(figure, 6))) == 1


def test_imshow_vector_file_has_all_samples_at_the_nominal_size(rng):
    figure = imshow(rng.random((16, 8)), zoom=5)
    file = io.StringIO()
    figure.savefig(file, format="svg")
    tag = file.getvalue().split("<image")[1].split(">")[0]
    assert 'width="8" height="16"' in tag
    # 72 points to an inch.
    scale = float(tag.split("matrix(")[1].split()[0])
    assert abs(scale - 5 * 72 / figure.dpi) < 1e-2


@pytest.mark.parametrize("denominator", [2, 3, 4])
def test_imshow_zoom_below_1_shows_means_of_blocks(denominator, rng):
    means = rng.random((12, 10))
    pattern = rng.standard_normal((denominator, denominator))
    image = np.kron(means, np.ones_like(pattern)) + np.tile(pattern - pattern.mean(), (12, 10))
    figure = imshow(image, zoom=1 / denominator)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), means, atol=1e-12)
    assert len(find(rendered(figure), expected_pixels(figure, 1))) == 1
    assert f"dims: [{12 * denominator}, {10 * denominator}] * 1/{denominator}" in (
        figure.axes[0].get_title()
    )


def test_shrink_fills_up_incomplete_blocks():
    image = np.arange(15.0).reshape(3, 5)
    expected = [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]
    np.testing.assert_allclose(shrink(image, whole_zoom(0.5)), expected)


def test_imshow_in_axes_takes_the_largest_zoom_that_fits(rng):
    figure, axes = plt.subplots(1, 2, figsize=(8, 4), dpi=100)
    image = rng.random((20, 30))
    place = axes[1].get_window_extent()
    imshow(image, ax=axes[1])
    zoom = int(min(place.width / 30, place.height / 20))
    assert f"* {zoom}" in axes[1].get_title()
    image = axes[1].images[0]
    block = image.to_rgba(image.get_array(), bytes=True).astype(int).repeat(zoom, 0)
    assert len(find(rendered(figure), block.repeat(zoom, 1))) == 1


def test_imshow_in_axes_keeps_a_smaller_zoom(rng):
    figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
    imshow(rng.random((20, 30)), ax=axes, zoom=2)
    assert len(find(rendered(figure), expected_pixels(figure, 2))) == 1


@pytest.mark.parametrize(
    ("shape", "zoom"), [((256, 256), 2), ((64, 64), 8), ((512, 512), 1), ((1024, 768), 0.5)]
)
def test_imshow_default_zoom_fits_a_screen(shape, zoom):
    figure = imshow(np.zeros(shape), title="t")
    np.testing.assert_allclose(image_extent(figure), np.array(shape[::-1]) * zoom, atol=1e-3)
    assert (figure.get_size_inches() <= (12.5, 8.5)).all()


@pytest.mark.parametrize(
    ("count", "col_wrap", "rows"), [(3, None, 1), (6, 3, 2), (6, 4, 2), (12, None, 2), (2, 5, 1)]
)
def test_imshow_arranges_in_rows(count, col_wrap, rows, rng):
    figure = imshow(rng.random((count, 1, 256, 256)), col_wrap=col_wrap)
    tops = {round(axes.get_position().y1, 6) for axes in figure.axes}
    assert len(figure.axes) == count
    assert len(tops) == rows


def test_imshow_many_channels_fit_a_screen(rng):
    figure = imshow(rng.random((64, 14, 14)))
    assert len(figure.axes) == 64
    assert (figure.get_size_inches() <= (12.5, 8.5)).all()


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("zoom", [1, 3, None])
def test_imshow_titles_are_whole_and_apart(count, zoom, rng):
    figure = imshow(rng.random((count, 1, 20, 24)) - 0.5, zoom=zoom, title="a rather long title")
    figure.canvas.draw()
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    pictures = [axes.get_window_extent() for axes in figure.axes]
    for box in titles:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
    boxes = titles + pictures
    assert not any(
        boxes[i].overlaps(boxes[j]) for i in range(len(boxes)) for j in range(i + 1, len(boxes))
    )


def test_imshow_title_tells_range_and_size(rng):
    image = np.linspace(-0.25, 2, 6 * 4).reshape(1, 6, 4)
    (axes,) = imshow(image, zoom=3, title="ramp").axes
    assert axes.get_title() == "ramp\nrange: [-2.5e-01, 2.0e+00]\ndims: [6, 4] * 3"
    (axes,) = imshow(image, zoom=3, title=None).axes
    assert axes.get_title() == ""


def test_imshow_sizes_of_a_list_agree_where_they_are_multiples(rng):
    figure = imshow([rng.random((32, 32)), rng.random((8, 8)), rng.random((12, 12))], zoom=2)
    sizes = [image_extent(figure, index) for index in range(3)]
    np.testing.assert_allclose(sizes, [[64, 64], [64, 64], [24, 24]], atol=1e-3)
    assert [axes.get_title()[-1] for axes in figure.axes] == ["2", "8", "2"]


def test_imshow_draws_channels_of_one_image_and_images_of_a_batch(rng):
    batch = rng.random((2, 3, 8, 8))
    assert len(imshow(batch[0]).axes) == 3
    assert len(imshow(batch, batch_idx=-1).axes) == 3
    assert len(imshow(batch, channel_idx=1).axes) == 2
    (axes,) = imshow(batch, batch_idx=1, channel_idx=2).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), batch[1, 2])
    (axes,) = imshow(batch[0, 0]).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), batch[0, 0])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int32, bool])
def test_imshow_takes_arrays_of_jax(dtype):
    image = (jnp.arange(16).reshape(1, 4, 4) % 2).astype(dtype)
    (axes,) = imshow(image).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), np.arange(16).reshape(4, 4) % 2)


def test_imshow_colors_are_clipped_and_blocks(rng):
    image = rng.uniform(-0.2, 1.2, (3, 9, 11))
    figure = imshow(image, as_rgb=True, zoom=4)
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, np.moveaxis(image, 0, -1).clip(0, 1))
    assert len(find(rendered(figure), expected_pixels(figure, 4))) == 1


def test_imshow_colors_follow_a_pair_but_no_mode(rng):
    image = rng.uniform(0, 1, (2, 4, 8, 8))
    (axes, _) = imshow(image, as_rgb=True, vrange=(0, 2)).axes
    shown = axes.images[0].get_array()
    np.testing.assert_allclose(shown[..., :3], np.moveaxis(image[0, :3], 0, -1) / 2)
    np.testing.assert_allclose(shown[..., 3], image[0, 3])
    (axes, _) = imshow(image, as_rgb=True, vrange="auto3").axes
    np.testing.assert_allclose(axes.images[0].get_array(), np.moveaxis(image[0], 0, -1))
    whole = (image[0] * 255).astype(np.uint8)
    (axes,) = imshow(whole, as_rgb=True).axes
    np.testing.assert_allclose(axes.images[0].get_array(), np.moveaxis(whole, 0, -1) / 255)


@pytest.mark.parametrize(
    ("plot_complex", "labels", "parts"),
    [
        ("rectangular", ("real", "imaginary"), (np.real, np.imag)),
        ("polar", ("amplitude", "phase"), (np.abs, np.angle)),
        ("logpolar", ("log(1+amplitude)", "phase"), (lambda z: np.log1p(np.abs(z)), np.angle)),
    ],
)
def test_imshow_complex_has_two_parts(plot_complex, labels, parts, rng):
    image = rng.standard_normal((1, 6, 6)) + 1j * rng.standard_normal((1, 6, 6))
    figure = imshow(image, plot_complex=plot_complex, title="band")
    for axes, label, part in zip(figure.axes, labels, parts, strict=True):
        assert axes.get_title().startswith(f"band {label}\n")
        np.testing.assert_allclose(axes.images[0].get_array(), part(image[0]))
        if label == "phase":
            assert axes.images[0].get_clim() == (-np.pi, np.pi)


def test_imshow_color_maps_follow_the_mode(rng):
    image = rng.standard_normal((8, 8))
    for vrange, name in (("indep1", "gray"), ("auto0", "RdBu_r"), ((0, 1), "gray")):
        assert imshow(image, vrange).axes[0].images[0].get_cmap().name == name
    assert imshow(image, "auto0", cmap="viridis").axes[0].images[0].get_cmap().name == "viridis"


def test_imshow_limits_are_those_of_the_mode(rng):
    batch = rng.standard_normal((2, 1, 8, 8))
    largest = np.abs(batch).max()
    for axes in imshow(batch, "auto0").axes:
        np.testing.assert_allclose(axes.images[0].get_clim(), (-largest, largest))


def test_imshow_passes_options_on(rng):
    assert imshow(rng.random((8, 8)), alpha=0.5).axes[0].images[0].get_alpha() == 0.5


def test_imshow_of_what_is_not_finite_is_drawn():
    image = np.full((4, 4), np.nan)
    for _ in range(2):
        figure = imshow(image)
        assert np.isfinite(rendered(figure)).all()
        assert np.isfinite(figure.axes[0].images[0].get_clim()).all()
        image[0, 0] = 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vrange": "auto9", "batch_idx": 0}, "vrange must be .* got 'auto9'"),
        ({"vrange": (1, 0), "batch_idx": 0}, "the smaller one first"),
        ({"zoom": 1.5, "batch_idx": 0}, "zoom, .* must be an integer .* got 1.5"),
        ({"zoom": 0.4, "batch_idx": 0}, "zoom, .* must be an integer .* got 0.4"),
        ({"zoom": 0, "batch_idx": 0}, "zoom, .* must be an integer .* got 0"),
        ({"zoom": -2, "batch_idx": 0}, "zoom, .* must be an integer .* got -2"),
        ({"batch_idx": 2}, "batch_idx must be between -2 and 1, got 2"),
        ({"channel_idx": -4}, "channel_idx must be between -3 and 2, got -4"),
        ({}, "got 2 images of 3 channels each"),
        ({"as_rgb": True, "channel_idx": 0}, "which shows all channels at once, got 0"),
        ({"batch_idx": 0, "title": ["a"]}, "each of the 3 images, got 1 titles"),
        ({"batch_idx": 0, "col_wrap": 0}, "col_wrap must be a whole number, at least 1, got 0"),
    ],
)
def test_imshow_refuses(options, message, rng):
    with pytest.raises(ValueError, match=message):
        imshow(rng.random((2, 3, 8, 8)), **options)
    assert not plt.get_fignums()


@pytest.mark.parametrize("shape", [(4,), (1, 1, 1, 4, 4), (0, 4, 4), ()])
def test_imshow_refuses_what_is_not_image_like(shape):
    with pytest.raises(ValueError, match=r"must have the shape \(height, width\)"):
        imshow(np.zeros(shape))


def test_imshow_refuses_colors_of_other_numbers_of_channels():
    with pytest.raises(ValueError, match="got 2 channels"):
        imshow(np.zeros((2, 4, 4)), as_rgb=True)
    with pytest.raises(ValueError, match="real numbers"):
        imshow(np.zeros((3, 4, 4), complex), as_rgb=True)


def test_imshow_refuses_an_empty_list_and_other_types():
    with pytest.raises(ValueError, match="got an empty list"):
        imshow([])
    with pytest.raises(TypeError, match="must be an array of numbers"):
        imshow("image.png")


def test_imshow_refuses_what_its_axes_have_no_room_for(rng):
    _, axes = plt.subplots(figsize=(2, 2))
    with pytest.raises(ValueError, match="must have 640 x 640 pixels at a zoom of 20, got"):
        imshow(rng.random((32, 32)), ax=axes, zoom=20)
    with pytest.raises(ValueError, match="got one axes for 2 images"):
        imshow(rng.random((2, 32, 32)), ax=axes)


@pytest.mark.parametrize(
    ("factor", "zoom"),
    [(3.99, (3, 1)), (4 - 1e-9, (4, 1)), (1, (1, 1)), (0.99, (1, 2)), (1 / 3 - 1e-9, (1, 3))],
)
def test_whole_zoom_rounds_down(factor, zoom):
    assert whole_zoom(factor).as_integer_ratio() == zoom


@pytest.mark.parametrize("zoom", [1, 2, 7.0, 0.5, 1 / 3, 0.333, 0.125])
def test_check_zoom_takes_integers_and_their_inverses(zoom):
    assert abs(check_zoom(zoom) - zoom) < 1e-3


def test_import_of_plot_needs_neither_matplotlib_nor_a_backend():
    code = "import sys, plenoptax.plot; assert 'matplotlib' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"JAX_PLATFORMS": "bogus", "PATH": ""}
    )


def test_imshow_takes_a_norm_and_an_aspect_of_matplotlib(rng):
    from matplotlib.colors import LogNorm

    figure = imshow(1 + rng.random((8, 8)), norm=LogNorm(1, 10), aspect="equal")
    assert figure.axes[0].images[0].norm.vmax == 10
