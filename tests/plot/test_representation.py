import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from plenoptax.plot import plot_representation, stem_plot


def stems(axes):
    return np.asarray(axes.containers[0].markerline.get_ydata())


def test_stem_plot_shows_the_values(rng):
    values = rng.standard_normal((1, 30))
    axes = stem_plot(jnp.asarray(values), title="statistics")
    np.testing.assert_allclose(stems(axes), values[0], rtol=1e-6)
    assert axes.get_title() == "statistics"
    assert not axes.xaxis.get_visible()


def test_stem_plot_limits(rng):
    values = rng.random(9) + 1
    assert stem_plot(values).get_ylim()[0] == 0
    assert stem_plot(-values, plt.figure().add_subplot()).get_ylim()[0] < -1
    assert stem_plot(values, ylim=(-3, 4)).get_ylim() == (-3, 4)
    axes = plt.figure().add_subplot()
    axes.set_ylim(-7, 7)
    assert stem_plot(values, axes, ylim=False).get_ylim() == (-7, 7)


def test_stem_plot_keeps_a_title_for_none():
    axes = plt.figure().add_subplot()
    axes.set_title("kept")
    assert stem_plot([1.0, 2.0], axes, title=None).get_title() == "kept"


def test_stem_plot_breaks_the_baseline():
    axes = stem_plot(np.arange(10.0), xvals=([0, 6], [3, 9]))
    pieces = axes.collections[-1].get_segments()
    np.testing.assert_array_equal(pieces, [[[0, 0], [3, 0]], [[6, 0], [9, 0]]])


def test_stem_plot_has_no_heads_where_they_would_overlap(rng):
    assert stem_plot(rng.random(20)).containers[0].markerline.get_marker() == "o"
    axes = stem_plot(rng.random(710), plt.figure().add_subplot())
    assert axes.containers[0].markerline.get_marker() in (" ", "", "None", None)
    assert axes.containers[0].stemlines.get_linewidth()[0] < 1


@pytest.mark.parametrize("data", [np.zeros((2, 3)), np.zeros(0), np.zeros(3, complex)])
def test_stem_plot_refuses_what_is_no_vector(data):
    with pytest.raises(ValueError, match="one vector of real numbers"):
        stem_plot(data)


def test_plot_representation_of_a_vector_is_a_stem_plot(rng):
    values = rng.standard_normal(40)
    (axes,) = plot_representation(data=values, title="statistics")
    np.testing.assert_array_equal(stems(axes), values)
    assert axes.get_title() == "statistics"


def test_plot_representation_of_a_matrix_has_an_axes_for_each_channel(rng):
    values = rng.standard_normal((3, 12))
    axes = plot_representation(data=values, title="statistics")
    np.testing.assert_array_equal([stems(one) for one in axes], values)
    assert [one.get_title() for one in axes] == ["channel 0", "channel 1", "channel 2"]
    assert axes[0].figure.axes[0].get_title() == "statistics"


def test_plot_representation_of_a_scalar_is_one_stem():
    (axes,) = plot_representation(data=jnp.array(2.5))
    np.testing.assert_array_equal(stems(axes), [2.5])


def test_plot_representation_of_images_shares_a_symmetric_range(rng):
    batch = rng.standard_normal((2, 3, 10, 8))
    batch[1, 2] *= 3
    for index in (0, 1):
        axes = plot_representation(data=batch, batch_idx=index)
        largest = np.abs(batch).max()
        for one, channel in zip(axes, batch[index], strict=True):
            np.testing.assert_array_equal(one.images[0].get_array(), channel)
            np.testing.assert_allclose(one.images[0].get_clim(), (-largest, largest))
        plt.close("all")


def test_plot_representation_of_colors(rng):
    (axes,) = plot_representation(data=rng.random((3, 8, 8)), as_rgb=True)
    assert axes.images[0].get_array().shape == (8, 8, 3)


def test_plot_representation_of_a_dictionary_keeps_its_order(rng):
    data = {"z": rng.random(4), "a": {"y": rng.random((1, 6, 6)), "x": rng.random((2, 5))}}
    axes = plot_representation(data=data)
    titles = [one.get_title().splitlines()[0] for one in axes]
    assert titles == ["z", "a/y", "a/x[0]", "a/x[1]"]
    assert len(axes[1].images) == 1


def test_plot_representation_of_a_tree_and_of_complex_numbers(rng):
    data = (rng.random(3) + 2j, rng.random((1, 6, 6)) - 1j)
    axes = plot_representation(data=data)
    assert [one.get_title().splitlines()[0] for one in axes] == [
        "0",
        "1[0] real",
        "1[1] imaginary",
    ]
    np.testing.assert_allclose(stems(axes[0]), [*data[0].real, 2, 2, 2])


def test_plot_representation_asks_the_model():
    class Model:
        def plot_representation(self, data, ax=None, ylim=False, batch_idx=0, title=""):
            ax.set_title(f"{title} {data} {ylim} {batch_idx}")
            return ax.figure, [ax]

    (axes,) = plot_representation(Model(), "data", None, (3, 2), (0, 1), 4, "mine")
    assert axes.get_title() == "mine data (0, 1) 4"
    np.testing.assert_allclose(axes.figure.get_size_inches(), (3, 2))
    given = plt.figure().add_subplot()
    assert plot_representation(Model(), None, given)[0] is given


def test_plot_representation_divides_axes_within_their_place(rng):
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4))
    place = right.get_position()
    axes = plot_representation(data=rng.standard_normal((5, 20)), ax=right, title="five")
    assert len(axes) == 5
    for one in axes:
        box = one.get_position()
        assert place.x0 - 1e-9 <= box.x0 < box.x1 <= place.x1 + 1e-9
        assert place.y0 - 1e-9 <= box.y0 < box.y1 <= place.y1 + 1e-9
    assert left.axison
    assert not right.axison
    assert right.get_title() == "five"


def test_plot_representation_in_a_figure_with_a_layout_engine(rng):
    figure, axes = plt.subplots(1, 2, layout="constrained", figsize=(8, 3))
    plot_representation(data=rng.random((2, 6)), ax=axes[0])
    plot_representation(data=rng.random((1, 6, 6)), ax=axes[1])
    figure.canvas.draw()
    for one in figure.axes:
        place = one.get_position()
        assert 0 <= place.x0 < place.x1 <= 1
        assert 0 <= place.y0 < place.y1 <= 1


def test_plot_representation_of_several_maps_is_in_layers(rng):
    data = {"a": rng.random((6, 8, 8)), "b": rng.random((2, 4, 4)), "c": rng.random(5)}
    figures = [
        plot_representation(data=data),
        plot_representation(data=data, ax=plt.figure(figsize=(14, 4)).add_subplot()),
    ]
    for axes in figures:
        axes[0].figure.canvas.draw()
        boxes = [one.get_window_extent() for one in axes]
        assert boxes[6].y1 < boxes[5].y0
        assert boxes[8].y1 < boxes[7].y0
        assert boxes[8].width > boxes[0].width
        titles = [one.get_title().split("\n")[-1] for one in axes]
        assert titles == ["[0]", "[1]", "[2]", "[3]", "[4]", "[5]", "[0]", "[1]", "c"]
    several_rows, one_row = ({one.get_position().y0 for one in axes[:6]} for axes in figures)
    assert len(several_rows) > len(one_row) == 1
    grid = plot_representation(data=data, gridspec_kwargs={"wspace": 1.0})
    assert grid[1].get_title() == "a[1]"


def test_plot_representation_directions(rng):
    data = rng.random((3, 6))
    horizontal = plot_representation(data=data)
    vertical = plot_representation(data=data, axes_direction="vertical")
    assert len({one.get_position().y0 for one in horizontal}) == 1
    assert len({one.get_position().x0 for one in vertical}) == 1
    wide = plot_representation(data=data, gridspec_kwargs={"width_ratios": [1, 1, 4]})
    widths = [one.get_position().width for one in wide]
    np.testing.assert_allclose(widths[2], 4 * widths[0])


@pytest.mark.parametrize("shape", [(2, 5), (1, 6, 6)])
def test_plot_representation_ylim(shape, rng):
    data = rng.random(shape) + 1
    axes = plot_representation(data=data, ylim=None)
    for one in axes:
        limits = one.get_ylim() if len(shape) == 2 else one.images[0].get_clim()
        np.testing.assert_allclose(limits[0], -limits[1])
        assert limits[1] >= data.max()


def test_plot_representation_says_what_it_leaves_out(rng):
    axes = plot_representation(data=rng.random((40, 3)), title="features")
    assert len(axes) == 36
    assert axes[0].figure.axes[0].get_title() == "features (the first 36 of 40)"


def test_plot_representation_of_zeros_or_no_numbers_is_drawn():
    for shape in ((4,), (1, 4, 4)):
        for value in (0.0, np.nan):
            axes = plot_representation(data=np.full(shape, value), ylim=None)[0]
            axes.figure.canvas.draw()
            assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()


def test_plot_representation_refuses():
    axes = plt.figure().add_subplot()
    with pytest.raises(ValueError, match="data must be a representation unless"):
        plot_representation()
    with pytest.raises(ValueError, match="Only one of ax= and figsize="):
        plot_representation(data=np.zeros(3), ax=axes, figsize=(3, 3))
    with pytest.raises(ValueError, match=r"got the shape \(1, 1, 1, 2, 2\)"):
        plot_representation(data={"a": np.zeros((1, 1, 1, 2, 2))})
    with pytest.raises(ValueError, match="data must hold arrays"):
        plot_representation(data={})
    with pytest.raises(TypeError, match="must be an array of numbers"):
        plot_representation(data={"a": object()})
    assert len(plt.get_fignums()) == 1
