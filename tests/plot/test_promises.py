"""What figures show of complex images and of sequences, and the arguments that they promise."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from plenoptax.plot import (
    eigendistortion_imshow_all,
    geodesic_deviation_from_line,
    mad_imshow_all,
    mad_loss_all,
    synthesis_histogram,
    synthesis_imshow,
    synthesis_loss,
)

from .standins import make_competition, make_eigendistortions, make_geodesic, make_result
from .test_methods import assert_tidy, four, heads, shown


def make_video_distortions():
    """Eigendistortions of a sequence of three frames, which are no colors."""
    found = make_eigendistortions()
    found.image = jnp.linspace(0, 1, 3 * 48).reshape(3, 1, 6, 8)
    found.eigendistortions = jnp.stack([0.1 * found.image - 0.05] * 3)
    return found


def spectrum(image):
    return jnp.fft.fft2(image)


def test_eigendistortion_imshow_all_shows_both_parts_of_complex_images(rng):
    found = make_eigendistortions()
    found.eigendistortions = jnp.asarray(rng.standard_normal((3, 1, 6, 8)))
    figure = eigendistortion_imshow_all(found, [0, -1], process_distortion=spectrum)
    assert heads(figure) == [
        "eigendistortion 0", "eigendistortion 0", "eigendistortion 47", "eigendistortion 47",
        "image", "image + 5 * eigendistortion 0", "image + 5 * eigendistortion 47",
    ]  # fmt: skip
    wanted = np.fft.fft2(np.asarray(found.eigendistortions[0, 0]))
    np.testing.assert_allclose(shown(figure.axes[0]), wanted.real, atol=1e-5)
    np.testing.assert_allclose(shown(figure.axes[1]), wanted.imag, atol=1e-5)
    assert "imaginary" in figure.axes[1].get_title()
    # Each stands above the image that it was added to.
    for above, below in ((0, 5), (2, 6)):
        left = [figure.axes[i].get_position(original=True).x0 for i in (above, below)]
        assert left[0] == pytest.approx(left[1])
    assert_tidy(figure)


def test_eigendistortion_imshow_all_shows_all_frames_of_a_sequence():
    found = make_video_distortions()
    figure = eigendistortion_imshow_all(found, 0)
    strip = shown(figure.axes[1])
    assert strip.shape == (6, 3 * 8 + 2)
    np.testing.assert_allclose(strip[:, 9:17], found.image[1, 0], rtol=1e-6)
    # What lies between the frames is no part of the range.
    assert figure.axes[0].images[0].get_clim() == pytest.approx((-0.05, 0.05))
    one = eigendistortion_imshow_all(found, 0, batch_idx=2)
    np.testing.assert_allclose(shown(one.axes[1]), found.image[2, 0], rtol=1e-6)


def test_an_image_of_three_rows_is_no_color():
    found = make_eigendistortions()
    found.image, found.eigendistortions = jnp.ones((3, 8)), jnp.ones((3, 3, 8))
    assert shown(eigendistortion_imshow_all(found, 0).axes[0]).shape == (3, 8)


@pytest.mark.parametrize(
    "draw", [lambda **o: eigendistortion_imshow_all(make_eigendistortions(3), 0, **o),
             lambda **o: mad_imshow_all(*[make_competition(max, jnp.ones((3, 6, 8)))] * 4, **o)],
)  # fmt: skip
def test_figures_of_several_images_take_the_arguments_of_imshow(draw):
    count = len(draw(zoom=2).axes)
    figure = draw(zoom=2, title=None, as_rgb=True, plot_complex="polar", interpolation="nearest")
    assert heads(figure) == [""] * count
    titles = [f"picture {index}" for index in range(count)]
    assert heads(draw(title=titles, batch_idx=None, vrange=(0, 2))) == titles
    figure = draw(channel_idx=1, cmap="viridis", aspect="equal", vmin=-1, vmax=3)
    for axes in figure.axes:
        assert shown(axes).ndim == 2
        assert axes.images[0].get_clim() == (-1, 3)
        assert axes.images[0].get_cmap().name == "viridis"
        assert "range: [-1.0e+00, 3.0e+00]" in axes.get_title()
    for name, value in (("ax", figure.axes[0]), ("col_wrap", 2)):
        with pytest.raises(TypeError, match=f"{name} must be None, because this figure"):
            draw(**{name: value})


def test_arguments_of_matplotlib_are_taken_under_their_aliases():
    result = make_result()
    axes = synthesis_loss(result, lw=3)["loss"]
    assert axes.lines[0].get_linewidth() == 3
    axes = synthesis_histogram(result, labels=["one"], ax=plt.figure().gca())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one"]
    ax = plt.figure().gca()
    axes = geodesic_deviation_from_line(make_geodesic(), ax=ax, lw=3, c="k", ms=2)
    assert axes.lines[-1].get_linewidth() == 3
    figure = mad_loss_all(*four(), metric1_kwargs={"color": "k", "label": "mine"})
    assert figure.axes[0].lines[0].get_color() == "k"
    figure = eigendistortion_imshow_all(
        make_eigendistortions(), suptitle_kwargs={"ha": "right", "size": 7}
    )
    (title,) = figure.texts
    assert (title.get_ha(), title.get_fontsize()) == ("right", 7)


def test_one_axes_does_not_show_half_of_a_complex_image():
    with pytest.raises(ValueError, match="The image must be real"):
        synthesis_imshow(make_result(), process_image=spectrum)
    axes = synthesis_imshow(make_result(), process_image=lambda x: abs(spectrum(x)))
    assert shown(axes).shape == (12, 10)
