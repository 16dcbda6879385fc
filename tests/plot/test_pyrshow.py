import numpy as np
import pytest

from plenoptax.plot import pyrshow


def make(height=2, orientations=3, size=16, dtype=float, lead=(2,)):
    rng = np.random.default_rng(0)
    shape = lambda scale: (size // 2**scale,) * 2  # noqa: E731
    bands = {
        scale: rng.standard_normal((*lead, orientations, *shape(scale))).astype(dtype)
        for scale in range(height)
    }
    high = rng.standard_normal((*lead, *shape(0)))
    low = rng.standard_normal((*lead, *shape(height)))
    return {"residual_highpass": high} | bands | {"residual_lowpass": low}


def rows_of(figure):
    tops = [round(axes.get_position().y1, 5) for axes in figure.axes]
    return [tops.count(top) for top in dict.fromkeys(tops)]


def test_pyrshow_has_a_row_for_each_scale():
    coefficients = make()
    figure = pyrshow(coefficients, channel_idx=1)
    assert rows_of(figure) == [1, 3, 3, 1]
    shown = figure.axes[5].images[0].get_array()
    np.testing.assert_array_equal(shown, coefficients[1][1, 1])
    assert figure.axes[5].get_title().startswith("scale 1, band 1\nrange")
    assert figure.axes[5].get_title().endswith("dims: [8, 8] * 2")


def test_pyrshow_without_residuals():
    figure = pyrshow(make(), show_residuals=False)
    assert rows_of(figure) == [3, 3]


def test_pyrshow_of_complex_bands_shows_both_parts():
    figure = pyrshow(make(dtype=complex), show_residuals=False, plot_complex="polar")
    assert rows_of(figure) == [6, 6]
    labels = [axes.get_title().split("\n")[0].split()[-1] for axes in figure.axes[:2]]
    assert labels == ["amplitude", "phase"]


def test_pyrshow_chooses_of_a_batch():
    coefficients = make(lead=(4, 2))
    axes = pyrshow(coefficients, batch_idx=-1, channel_idx=1).axes
    np.testing.assert_array_equal(
        axes[0].images[0].get_array(), coefficients["residual_highpass"][3, 1]
    )
    assert len(pyrshow(make(lead=())).axes) == 8


def test_pyrshow_of_a_laplacian_pyramid():
    levels = [np.ones((1, 15, 15)), np.ones((1, 8, 8)), np.ones((1, 4, 4))]
    figure = pyrshow(levels, zoom=2)
    assert rows_of(figure) == [1, 1, 1]
    zooms = [axes.get_title().split("* ")[1] for axes in figure.axes]
    assert zooms == ["2", "4", "8"]


def test_pyrshow_shares_ranges_on_demand():
    axes = pyrshow(make(), "auto1").axes
    assert len({one.images[0].get_clim() for one in axes}) == 1


def test_pyrshow_refuses():
    with pytest.raises(ValueError, match="must hold coefficients"):
        pyrshow({})
    with pytest.raises(ValueError, match="channel_idx must be between -2 and 1, got 2"):
        pyrshow(make(), channel_idx=2)
    with pytest.raises(ValueError, match=r"got coefficients of shape \(4,\)"):
        pyrshow([np.ones(4)])
