import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx

from .metamers import quietly


def steps_of(source, iterations, selection="round"):
    """The iterations whose images are shown for others."""
    found = [source.get_progress(i, selection, warn=False) for i in iterations]
    return [progress["image_step"] for progress in found]


def test_progress_of_a_trace(image, model, unchecked, getkey):
    trace = quietly(image, model, key=getkey(), max_steps=10, record=4).trace
    np.testing.assert_array_equal(trace.image_steps, [0, 4, 8])
    assert trace[0]["losses"] == trace.losses[0]
    assert trace[-1]["gradient_norm"] is None
    assert trace[-1]["losses"] == trace.get_progress(None, warn=False)["losses"] == trace.losses[-1]
    with pytest.warns(UserWarning, match="iteration 5"):
        assert trace.get_progress(5)["image_step"] == 4
    assert steps_of(trace, range(11)) == [0, 0, 0, 4, 4, 4, 8, 8, 8, 8, 8]
    assert steps_of(trace, [5, 8, -4], "ceiling") == [8, 8, 8]
    assert steps_of(trace, [7, 8, -1], "floor") == [4, 8, 8]
    assert trace.get_progress(-11)["iteration"] == 0
    with pytest.raises(IndexError, match="0 to 10"):
        trace.get_progress(11)
    with pytest.raises(IndexError, match="after"):
        trace.get_progress(9, "ceiling")
    with pytest.raises(ValueError, match="'nearest'"):
        trace.get_progress(9, "nearest")


# What plenoptic 2.1.1 shows, but for the final iteration by its number, which is its own here.
@pytest.mark.parametrize(
    ("every", "selection", "wanted"),
    [
        (2, "round", [0, 0, 2, 4, 4, 5]),
        (2, "floor", [0, 0, 2, 2, 4, 5]),
        (2, "ceiling", [0, 2, 2, 4, 4, 5]),
        (5, "round", [0, 0, 0, 5, 5, 5]),
        (5, "floor", [0, 0, 0, 0, 0, 5]),
        (5, "ceiling", [0, 5, 5, 5, 5, 5]),
    ],
)
def test_iterations_between_recorded_ones(every, selection, wanted, image, model, getkey):
    result = quietly(image, model, key=getkey(), max_steps=5, record=every)
    assert steps_of(result, [*range(6), None], selection) == [*wanted, 5]
    assert steps_of(result, [-3, -1], selection) == [wanted[3], 5]


def test_the_image_of_an_iteration_is_that_of_its_loss(image, model, getkey):
    # A rate at which the last image is not the best one.
    options = {"optimizer": optax.adam(1.0), "record": plx.Record(every=3, best=True)}
    result = quietly(image, model, key=getkey(), max_steps=8, **options)
    for iteration in (0, 3, 6, -1, None):
        progress = result.get_progress(iteration)
        found = result.problem.objective_function(jnp.asarray(progress["image"]))
        np.testing.assert_allclose(found, progress["losses"], rtol=1e-4)
    assert result.get_progress(None)["image_step"] == 8
    assert not np.array_equal(result.get_progress(-1)["image"], result.image)
    with pytest.warns(UserWarning, match="iteration 7; this is that of iteration 6"):
        result.get_progress(-2)


def test_progress_without_recorded_images(image, model, getkey):
    result = quietly(image, model, key=getkey(), max_steps=5)
    assert "image" not in result.get_progress(-1)
    assert result.get_progress(-2) == result.trace[4]
