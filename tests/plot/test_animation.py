import io

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest

from plenoptax.plot import animshow, synthesis_animate

from .standins import make_competition, make_geodesic, make_result, vector


def frames_of(animation, tmp_path):
    """The pictures of an animation, read back from a file."""
    path = tmp_path / "animation.gif"
    animation.save(path, writer="pillow")
    with PIL.Image.open(path) as file:
        frames = []
        for index in range(file.n_frames):
            file.seek(index)
            frames.append(np.asarray(file.convert("L")).astype(int))
    return frames


def contains(picture, block):
    height, width = block.shape
    windows = np.lib.stride_tricks.sliding_window_view(picture, (height, width))
    return (np.abs(windows - block).max((2, 3)) <= 2).any()


def test_animshow_frames_are_the_video_pixel_by_pixel(tmp_path, rng):
    video = rng.integers(0, 2, (4, 1, 6, 5)) * 1.0
    animation = animshow(video, framerate=20, zoom=3)
    frames = frames_of(animation, tmp_path)
    assert len(frames) == 4
    for frame, image in zip(frames, video, strict=True):
        assert contains(frame, (255 * image[0]).astype(int).repeat(3, 0).repeat(3, 1))


def test_animshow_has_the_limits_of_the_whole_video():
    video = np.linspace(0, 1, 3)[:, None, None] * np.ones((4, 4))
    animation = animshow([video, 2 * video], title=["a", "b"])
    axes = animation._fig.axes
    assert [one.images[0].get_clim() for one in axes] == [(0, 1), (0, 2)]
    assert axes[1].get_title().startswith("b\nrange: [0.0e+00, 2.0e+00]")
    assert "<img" in animation.to_jshtml()


def test_animshow_of_a_batch_of_colors(rng):
    videos = rng.random((2, 3, 3, 4, 4))
    animation = animshow(videos, as_rgb=True)
    assert [one.images[0].get_array().shape for one in animation._fig.axes] == [(4, 4, 3)] * 2
    animation.to_jshtml()
    shown = animation._fig.axes[1].images[0].get_array()
    np.testing.assert_allclose(shown, np.moveaxis(videos[1, -1], 0, -1))


def test_animations_play_in_notebooks_and_leave_no_still_image(rng):
    animation = animshow(rng.random((2, 4, 4)))
    assert "<script" in animation._repr_html_()
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("video", "options", "message"),
    [
        (np.ones((4, 4)), {}, r"A video must have the shape .* got \(4, 4\)"),
        ([np.ones((2, 4, 4)), np.ones((3, 4, 4))], {}, r"got \[2, 3\] frames"),
        (np.ones((2, 4, 4)), {"zoom": 1.5}, "zoom, .* got 1.5"),
        (np.ones((2, 4, 4)), {"vrange": "auto7"}, "vrange must be .* got 'auto7'"),
        (np.ones((2, 2, 4, 4)), {"as_rgb": True}, "got 2 channels"),
    ],
)
def test_animshow_refuses(video, options, message):
    with pytest.raises(ValueError, match=message):
        animshow(video, **options)


def test_synthesis_animate_shows_every_recorded_image():
    result = make_result(vector)
    animation = synthesis_animate(result, rescale_ylim="rescale2")
    picture, loss, error = animation._fig.axes
    artists = [picture.images[0], loss.lines[1], error.containers[0]]
    for index, step in enumerate((0, 5, 10, 15, 20)):
        animation._draw_frame(index)
        share = 1 if step == 20 else step / 21
        expected = share * np.asarray(result.image)
        np.testing.assert_allclose(picture.images[0].get_array(), expected[0], rtol=1e-6)
        assert picture.get_title().startswith(f"Metamer, step {step}\n")
        np.testing.assert_allclose(loss.lines[1].get_xydata(), [[step, 0.5**step]])
        assert loss.get_title() == f"Loss {0.5**step:.3g} at step {step}"
        difference = (share - 0.5) * vector(np.asarray(result.image))[0]
        stems = error.containers[0].markerline.get_ydata()
        np.testing.assert_allclose(stems, difference, atol=1e-6)
        assert error.get_title() == f"Representation error, step {step}"
        if index % 2 == 0:
            top = 1.15 * np.abs(difference).max()
            np.testing.assert_allclose(error.get_ylim()[1], top, rtol=1e-5)
    assert artists == [picture.images[0], loss.lines[1], error.containers[0]]
    animation.save(io.BytesIO(), writer=NoWriter())


def test_a_sound_is_animated():
    sound = jnp.linspace(-1, 1, 40)
    animation = synthesis_animate(make_result(lambda sound: sound[:5], sound))
    animation._draw_frame(1)
    axes = animation._fig.axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), sound * 5 / 21, rtol=1e-6)
    assert axes.get_title() == "Metamer, step 5"
    assert max(axes.get_ylim()) == pytest.approx(1.1 * 5 / 21, rel=1e-5)
    animation.save(io.BytesIO(), writer=NoWriter())


def NoWriter():
    from matplotlib.animation import AbstractMovieWriter

    class Writer(AbstractMovieWriter):
        def __init__(self):
            super().__init__(fps=5)

        def setup(self, fig, outfile, dpi=None):
            self.fig = fig

        def grab_frame(self, **options):
            pass

        def finish(self):
            pass

    return Writer()


def test_synthesis_animate_can_hold_its_limits():
    animation = synthesis_animate(make_result(vector), rescale_ylim=False)
    error = animation._fig.axes[2]
    before = error.get_ylim()
    animation._draw_frame(4)
    assert error.get_ylim() == before
    animation.save(io.BytesIO(), writer=NoWriter())


@pytest.mark.parametrize(
    ("result", "plots"),
    [
        (make_competition(max), ["synthesis_imshow", "synthesis_loss", "synthesis_histogram"]),
        (make_geodesic(), None),
        (make_result(vector).trace, None),
        (np.linspace(0, 1, 4 * 30).reshape(4, 1, 6, 5), None),
        (make_result(image=jnp.ones((3, 6, 6))), ["synthesis_imshow"]),
    ],
)
def test_synthesis_animate_of_other_sources(result, plots):
    animation = synthesis_animate(result, included_plots=plots)
    before = animation._fig.axes[0].images[0].get_array().copy()
    for index in (1, 3):
        animation._draw_frame(index)
    assert np.abs(animation._fig.axes[0].images[0].get_array() - before).max() > 0
    animation.save(io.BytesIO(), writer=NoWriter())


def test_synthesis_animate_processes_images():
    animation = synthesis_animate(make_result(), process_image=lambda image: 1 - image)
    assert animation._fig.axes[0].images[0].get_array().min() == 1
    animation.save(io.BytesIO(), writer=NoWriter())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rescale_ylim": "rescale0"}, "rescale_ylim must be .* got 'rescale0'"),
        ({"rescale_ylim": True}, "rescale_ylim must be .* got True"),
        ({"framerate": 0}, "framerate must be a finite number above 0, got 0"),
        ({"included_plots": ["loss"]}, "The name of a plot must be .* got 'loss'"),
    ],
)
def test_synthesis_animate_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        synthesis_animate(make_result(), **options)


def test_synthesis_animate_needs_images():
    with pytest.raises(ValueError, match="at least two images for an animation, got 1"):
        synthesis_animate(make_result(recorded=()))
