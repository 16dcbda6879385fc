import matplotlib.pyplot as plt
import numpy as np
import pytest

from plenoptax.plot import plot_representation, stem_plot, update_plot


def drawn(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).copy()


def test_update_plot_moves_stems_with_their_lines(rng):
    axes = stem_plot(rng.random(9))
    values = rng.standard_normal(9)
    (stems,) = update_plot(axes, values)
    assert stems is axes.containers[0]
    np.testing.assert_array_equal(stems.markerline.get_ydata(), values)
    segments = stems.stemlines.get_segments()
    np.testing.assert_array_equal([segment[:, 1] for segment in segments], [[0, v] for v in values])
    np.testing.assert_array_equal([segment[0, 0] for segment in segments], np.arange(9))


@pytest.mark.parametrize("shape", [(7,), (1, 7), (3, 7), (1, 8, 6), (2, 8, 6)])
def test_update_plot_looks_as_if_it_had_been_drawn_anew(shape, rng):
    first, second = rng.standard_normal((2, *shape))
    second *= np.abs(first).max() / np.abs(second).max()
    updated = plot_representation(data=first, ylim=(-3, 3))
    update_plot(updated, second)
    afresh = plot_representation(data=second, ylim=(-3, 3))
    np.testing.assert_array_equal(drawn(updated[0].figure), drawn(afresh[0].figure))
    assert len(updated[0].containers) + len(updated[0].images) == 1


def test_update_plot_of_several_axes_takes_trees_in_order(rng):
    data = {"z": rng.random(4), "a": [rng.random((1, 6, 6)), rng.random((2, 5)) + 1j]}
    axes = plot_representation(data=data)
    other = {"z": rng.random(4), "a": [rng.random((1, 6, 6)), rng.random((2, 5)) + 2j]}
    artists = update_plot(axes, other)
    np.testing.assert_array_equal(artists[0].markerline.get_ydata(), other["z"])
    np.testing.assert_array_equal(artists[1].get_array(), other["a"][0][0])
    stems = artists[3].markerline.get_ydata()
    np.testing.assert_array_equal(stems, [*other["a"][1][1].real, *[2.0] * 5])


def test_update_plot_of_one_axes_with_several_lines(rng):
    axes = plt.figure().add_subplot()
    axes.plot(rng.random(5), label="a")
    axes.plot(rng.random(5), label="b")
    values = rng.random((2, 5))
    update_plot(axes, values)
    np.testing.assert_array_equal([line.get_ydata() for line in axes.lines], values)
    (line,) = update_plot(axes, {"b": np.zeros(5)})
    np.testing.assert_array_equal(line.get_ydata(), 0)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), values[0])
    with pytest.raises(ValueError, match="The keys of data must be"):
        update_plot(axes, {"c": np.zeros(5)})


def test_update_plot_of_points_and_of_a_batch(rng):
    axes = plt.figure().add_subplot()
    axes.scatter([0.0, 1.0], [0.0, 1.0])
    points = rng.random((3, 1, 4, 2))
    (scatter,) = update_plot(axes, points, batch_idx=2)
    np.testing.assert_array_equal(scatter.get_offsets(), points[2, 0])


def test_update_plot_of_colors_and_of_shrunk_images(rng):
    first, second = rng.random((2, 3, 8, 6))
    (axes,) = plot_representation(data=first, as_rgb=True)
    update_plot(axes, 2 * second)
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(shown, np.clip(2 * np.moveaxis(second, 0, -1), 0, 1))
    large = rng.random((1, 1600, 1600))
    axes = plot_representation(data=large, figsize=(5, 5))
    update_plot(axes, 1 - large)
    assert axes[0].images[0].get_array().shape[0] < 800


def test_update_plot_rescales_on_demand(rng):
    for data in (rng.random(5), rng.random((1, 6, 6))):
        axes = plot_representation(data=data - 0.5, ylim=None)
        image = axes[0].images[0] if data.ndim == 3 else None
        before = image.get_clim() if image else axes[0].get_ylim()
        update_plot(axes, 10 * data)
        assert (image.get_clim() if image else axes[0].get_ylim()) == before
        update_plot(axes, 10 * data, rescale_ylim=True)
        low, high = image.get_clim() if image else axes[0].get_ylim()
        assert high == -low >= 10 * data.max()
        if image:
            assert f"range: [{low:.1e}, {high:.1e}]" in axes[0].get_title()
    axes = stem_plot(rng.random(5), plt.figure().add_subplot())
    update_plot(axes, np.arange(5.0), rescale_ylim=True)
    np.testing.assert_allclose(axes.get_ylim(), (0, 4.6))


def test_update_plot_rescales_layers(rng):
    data = {"a": rng.random((6, 8, 8)), "b": rng.random(3)}
    axes = plot_representation(data=data)
    update_plot(axes, {"a": 10 * data["a"], "b": data["b"]}, rescale_ylim=True)
    low, high = axes[0].images[0].get_clim()
    assert high == -low == 10 * data["a"].max()
    assert {one.images[0].get_clim() for one in axes[:6]} == {(low, high)}
    assert axes[0].get_title() == f"a, range: [{low:.1e}, {high:.1e}]\n[0]"


def test_update_plot_asks_the_model():
    class Model:
        def update_plot(self, axes, data, batch_idx=0, rescale_ylim=False):
            return [axes, data, batch_idx, rescale_ylim]

    assert update_plot("axes", "data", Model(), 3, True) == ["axes", "data", 3, True]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros(4), "data must have 5 values, .* got 4"),
        (np.zeros((2, 5)), "each of the 1 series .* got 2"),
        (np.zeros((1, 1, 1, 5)), "must have 1 axes"),
    ],
)
def test_update_plot_refuses_what_does_not_fit(data, message):
    with pytest.raises(ValueError, match=message):
        update_plot(stem_plot(np.ones(5)), data)


def test_update_plot_refuses_images_of_other_sizes():
    axes = plot_representation(data=np.ones((1, 6, 6)))
    with pytest.raises(ValueError, match="must have the size of the image in the plot"):
        update_plot(axes, np.ones((1, 6, 5)))
