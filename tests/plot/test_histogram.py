import matplotlib.pyplot as plt
import numpy as np
import pytest

from plenoptax.plot import histogram, synthesis_histogram

from .standins import make_eigendistortions, make_result


def counts(axes):
    return [patch.get_data().values for patch in axes.patches]


def test_histogram_counts_with_common_bins(rng):
    images = [rng.random((1, 8, 8)), 2 * rng.random((3, 4, 4))]
    axes = histogram(images, ["a", "b"], bins=10)
    both = np.concatenate([image.ravel() for image in images])
    edges = np.linspace(both.min(), both.max(), 11)
    for image, shown in zip(images, counts(axes), strict=True):
        np.testing.assert_array_equal(shown, np.histogram(image, edges)[0])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    np.testing.assert_allclose(axes.get_xlim(), edges[[0, -1]])


def test_histogram_chooses_and_leaves_out_what_is_not_finite(rng):
    batch = rng.random((2, 3, 4, 4))
    batch[1, 2, 0, 0] = np.nan
    axes = histogram(batch, batch_idx=1, channel_idx=2)
    assert counts(axes)[0].sum() == 15
    assert axes.get_legend() is None
    assert counts(histogram(batch, batch_idx=None, ax=plt.figure().add_subplot()))[0].sum() == 95


def test_histogram_options():
    axes = histogram(
        np.eye(4), ylim=(0, 30), xlim=(-1, 2), xlabel=False, title=None, density=True, color="k"
    )
    assert axes.get_ylim() == (0, 30)
    assert axes.get_xlim() == (-1, 2)
    assert axes.get_xlabel() == axes.get_title() == ""
    assert axes.get_ylabel() == "Density"


def test_histogram_refuses():
    with pytest.raises(ValueError, match=r"each of the 2 arrays, or None, got \['a'\]"):
        histogram([np.eye(2), np.eye(3)], ["a"])
    with pytest.raises(ValueError, match="each of the 2 arrays, or None, got 'a'"):
        histogram([np.eye(2), np.eye(3)], "a")
    with pytest.raises(ValueError, match="must hold finite real numbers"):
        histogram(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="channel_idx must be between -1 and 0, got 1"):
        histogram(np.ones((1, 2, 2)), channel_idx=1)
    assert not plt.get_fignums()


def test_synthesis_histogram_compares_with_the_target():
    result = make_result()
    result.problem.image = result.image + 0.5
    axes = synthesis_histogram(result, iteration=10)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Metamer", "target"]
    assert [shown.sum() for shown in counts(axes)] == [120, 120]
    assert axes.get_xlim() == (0, 1.5)


def test_synthesis_histogram_of_eigendistortions_shows_all_or_one():
    found = make_eigendistortions()
    assert len(counts(synthesis_histogram(found))) == 3
    axes = synthesis_histogram(found, 47, ax=plt.figure().add_subplot())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["eigendistortion 47"]
