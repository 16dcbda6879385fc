import functools

import equinox as eqx
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from plenoptax.metric import model_metric_factory, mse
from plenoptax.models import Gaussian, Identity
from plenoptax.plot import (
    eigendistortion_imshow_all,
    geodesic_deviation_from_line,
    mad_imshow_all,
    mad_loss_all,
    metamer_representation_error,
    synthesis_imshow,
    synthesis_loss,
    synthesis_status,
)
from plenoptax.regularize import penalize_range
from plenoptax.solve import State, Status

from .standins import make_competition, make_eigendistortions, make_geodesic, make_result, vector


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def heads(figure):
    return [axes.get_title().split("\n")[0] for axes in figure.axes]


WIDE = functools.partial(penalize_range, allowed_range=(-1.0, 3.0))


@pytest.mark.parametrize(
    ("penalty", "weight", "wanted"),
    [
        (WIDE, 0.1, (-1, 3)),
        (WIDE, 0.0, (0, 1)),
        (penalize_range, 0.1, (0, 1)),
        (functools.partial(penalize_range, allowed_range=(0.0, np.inf)), 0.1, (0, 1)),
    ],
)
def test_plots_have_the_range_that_the_penalty_was_given(penalty, weight, wanted):
    result = make_result(Identity())
    result.problem.penalty_function, result.problem.penalty_lambda = penalty, jnp.asarray(weight)
    included = ["synthesis_imshow", "synthesis_histogram"]
    for iteration in (None, 5):
        axes = synthesis_status(result, iteration=iteration, included_plots=included).axes
        assert axes[0].images[0].get_clim() == wanted
        assert [line.get_xdata()[0] for line in axes[1].lines] == list(wanted)
    assert synthesis_imshow(result, vrange=(0, 2)).images[0].get_clim() == (0, 2)


def test_competitions_and_paths_have_the_range_of_their_penalty():
    results = [make_competition(metric) for metric in (mse, mse, mse, mse)]
    for one in results:
        one.problem.penalty_function, one.problem.penalty_lambda = WIDE, jnp.asarray(0.1)
    assert mad_imshow_all(*results).axes[0].images[0].get_clim() == (-1, 3)
    path = make_geodesic()
    path.problem.penalty_function, path.problem.penalty_lambda = WIDE, jnp.asarray(0.1)
    axes = synthesis_imshow(path)
    assert axes.images[0].get_clim() == (-1, 3)
    # What lies between the frames has no value, so that it has no part in the limits.
    assert np.isnan(shown(axes)).any()
    assert np.nanmax(shown(axes)) <= 3


def assert_tidy(figure):
    """Nothing is clipped, and no two panels overlap."""
    figure.canvas.draw()
    axes = [one for one in figure.axes if one.axison or one.images]
    boxes = [one.get_tightbbox() for one in axes]
    for box in boxes:
        assert -1 <= box.x0 < box.x1 <= figure.bbox.x1 + 1
        assert -1 <= box.y0 < box.y1 <= figure.bbox.y1 + 1
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def four():
    def near(first, second):
        return 0.0

    def far(first, second):
        return 0.0

    return [make_competition(metric) for metric in (near, far, near, far)]


def test_mad_imshow_all_shows_six_images():
    figure = mad_imshow_all(*four(), zoom=4)
    assert heads(figure) == [
        "Reference", "Best near", "Best far", "Initial image", "Worst near", "Worst far"
    ]  # fmt: skip
    image = np.linspace(0, 1, 120).reshape(12, 10)
    np.testing.assert_allclose(shown(figure.axes[0]), image, rtol=1e-6)
    np.testing.assert_allclose(shown(figure.axes[5]), image / 2, rtol=1e-6)
    np.testing.assert_array_equal(shown(figure.axes[3]), 0)
    assert_tidy(figure)


def test_mad_imshow_all_of_colors_without_the_initial_image(rng):
    results = [make_competition(max, jnp.asarray(rng.random((3, 6, 6)))) for _ in range(1)] * 4
    for one in results:
        one.trace.image_steps = one.trace.images = None
    figure = mad_imshow_all(*results, "a", "b", zoom=4)
    assert heads(figure) == ["Reference", "Best a", "Best b", "Worst a", "Worst b"]
    assert shown(figure.axes[0]).shape == (6, 6, 3)


def test_mad_plots_refuse_different_images():
    results = four()
    results[2] = make_competition(max, jnp.ones((1, 12, 10)))
    with pytest.raises(ValueError, match="must have the same reference image"):
        mad_imshow_all(*results)
    with pytest.raises(ValueError, match="must have the same reference image"):
        mad_loss_all(*results)


def test_mad_loss_all_has_an_axes_for_each_metric():
    figure = mad_loss_all(*four(), metric2_name="b", max_kwargs={"linestyle": ":"})
    assert heads(figure) == ["near", "b"]
    lines = [line for line in figure.axes[0].lines if line.get_label() != "_step"]
    assert [line.get_label() for line in lines] == ["min near", "min b", "max near", "max b"]
    assert [line.get_linestyle() for line in lines] == ["--", "--", ":", ":"]
    assert [line.get_color() for line in lines] == ["C0", "C1", "C0", "C1"]
    # The second metric was held where the first was optimized.
    finals = [line.get_ydata()[-1] for line in lines]
    np.testing.assert_allclose(finals, [20.5, 0.3, 20.5, 0.3])


def compete(optimized):
    """Results of four competitions that held a metric at 0.01 up to rounding, of 21 steps each."""
    results = four()
    for one, values in zip(results, optimized, strict=True):
        one.trace.terms = {
            "reference_metric": 0.01 + 1e-8 * (np.arange(21) % 3),
            "optimized_metric": np.asarray(values),
        }
    return results


def assert_holds_its_curves(axes):
    low, high = axes.get_ylim()
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    assert low < values.min() < values.max() < high


def test_mad_loss_all_holds_all_its_curves():
    small, large = np.linspace(0.01, 0.006, 21), np.linspace(0.01, 0.014, 21)
    figure = mad_loss_all(*compete([small, small, large, large]))
    for axes, name in zip(figure.axes, ("near", "far"), strict=True):
        assert_holds_its_curves(axes)
        assert axes.get_yscale() == "linear"
        assert axes.get_ylabel() == f"{name} to the reference image"
    assert_tidy(figure)


@pytest.mark.parametrize(("least", "scale"), [(1e-4, "log"), (0.0, "linear")])
def test_mad_loss_all_of_more_than_a_decade_is_logarithmic_if_positive(least, scale):
    small, large = np.linspace(0.01, least, 21), np.linspace(0.01, 0.2, 21)
    for order in ([small, small, large, large], [large, large, small, small]):
        for axes in mad_loss_all(*compete(order)).axes:
            assert_holds_its_curves(axes)
            assert axes.get_yscale() == scale


def test_synthesis_loss_shows_what_was_held_as_flat():
    result = compete([np.linspace(0.01, 0.5, 21)] * 4)[0]
    axes = synthesis_loss(result)
    low, high = axes["reference_metric_loss"].get_ylim()
    assert high - low > 1e-3
    assert axes["reference_metric_loss"].get_yscale() == "linear"
    assert axes["optimized_metric_loss"].get_yscale() == "log"


def test_synthesis_loss_of_metrics_that_are_no_numbers_is_drawn():
    axes = synthesis_loss(compete([np.full(21, np.nan)] * 4)[0])
    axes["optimized_metric_loss"].figure.canvas.draw()
    assert np.isfinite(axes["optimized_metric_loss"].get_ylim()).all()


@pytest.mark.parametrize(
    ("metrics", "names"),
    [
        ((mse, functools.partial(max, 1)), ["mse", "max"]),
        ((functools.partial(mse), eqx.Partial(mse)), ["mse 1", "mse 2"]),
        ((model_metric_factory(Gaussian(3)), mse), ["Gaussian", "mse"]),
        (
            (model_metric_factory(Gaussian(3)), functools.partial(Gaussian(5))),
            ["Gaussian 1", "Gaussian 2"],
        ),
    ],
)
def test_mad_plots_name_metrics(metrics, names):
    results = [make_competition(metric) for metric in metrics * 2]
    assert heads(mad_loss_all(*results)) == names
    images = ["Reference", *[f"Best {name}" for name in names], "Initial image"]
    assert heads(mad_imshow_all(*results)) == [*images, *[f"Worst {name}" for name in names]]
    assert heads(mad_loss_all(*results, metric2_name="mine"))[1] == "mine"


def test_mad_imshow_all_is_large(rng):
    image = jnp.asarray(rng.random((1, 64, 64)))
    figure = mad_imshow_all(*[make_competition(metric, image) for metric in (min, max) * 2])
    figure.canvas.draw()
    assert figure.axes[0].get_window_extent().width >= 256


def test_synthesis_loss_of_a_competition_has_an_axes_for_each_metric():
    result = make_competition(max)
    axes = synthesis_loss(result, plot_penalties=True)
    assert list(axes) == ["reference_metric_loss", "optimized_metric_loss", "penalties"]
    np.testing.assert_array_equal(axes["penalties"].lines[0].get_ydata(), result.trace.penalties)
    assert axes["optimized_metric_loss"].lines[1].get_xydata().tolist() == [[20, 20.5]]
    low, high = axes["reference_metric_loss"].get_ylim()
    assert high - low > 0.02
    _, given = plt.subplots(1, 2)
    assert synthesis_loss(result, ax=given)["optimized_metric_loss"] is given[1]
    with pytest.raises(ValueError, match="ax must hold 3 axes .* got 2"):
        synthesis_loss(result, plot_penalties=True, ax=given)


@pytest.mark.parametrize("make", [lambda: make_competition(max), make_geodesic])
def test_synthesis_status_of_other_methods_is_tidy(make):
    assert_tidy(synthesis_status(make()))


def test_synthesis_status_with_a_histogram():
    names = ["synthesis_imshow", "synthesis_loss", "synthesis_histogram"]
    figure = synthesis_status(make_result(vector), included_plots=names)
    assert len(figure.axes[2].patches) == 1
    assert_tidy(figure)


def test_geodesic_is_shown_as_a_strip():
    result = make_geodesic()
    axes = synthesis_imshow(result)
    strip = shown(axes)
    assert strip.shape == (6, 5 * 8 + 4)
    assert "\ndims: [6, 8] * " in axes.get_title()
    np.testing.assert_allclose(strip[:, 9:17], result.image[1, 0], rtol=1e-6)
    # Gaps have no value, so that they are white whatever the range.
    assert np.isnan(strip[:, 8]).all()
    assert shown(synthesis_imshow(make_geodesic(8))).shape == (2 * 6 + 1, 4 * 8 + 3)


def test_geodesic_deviation_from_line():
    result = make_geodesic()
    video = np.ones((5, 1, 6, 8), np.float32)
    axes = geodesic_deviation_from_line(result, video, iteration=10)
    natural, fade, path = (line.get_xydata() for line in axes.lines)
    np.testing.assert_allclose(natural[:, 1], 1)
    np.testing.assert_allclose(path[:, 1], fade[:, 1] * 10 / 21, rtol=1e-5)
    assert heads(synthesis_status(result))[2] == "Deviation from a straight line"
    with pytest.raises(ValueError, match="must have a path between two images .* got Metamer"):
        geodesic_deviation_from_line(make_result())
    with pytest.raises(ValueError, match="must have a model and a target .* got Path"):
        metamer_representation_error(result)


def test_eigendistortion_imshow_all():
    figure = eigendistortion_imshow_all(make_eigendistortions(), [0, -1], distortion_scale=[2, 10])
    assert heads(figure) == [
        "eigendistortion 0",
        "eigendistortion 47",
        "image",
        "image + 2 * eigendistortion 0",
        "image + 10 * eigendistortion 47",
    ]
    np.testing.assert_allclose(shown(figure.axes[1]), 0.03, rtol=1e-6)
    np.testing.assert_allclose(shown(figure.axes[4]), 0.8, rtol=1e-6)
    assert figure.axes[0].images[0].get_clim()[0] == -figure.axes[0].images[0].get_clim()[1]
    assert figure.axes[3].images[0].get_clim() == (0, 1)
    assert figure.get_suptitle() == "Eigendistortions"
    assert_tidy(figure)


def test_eigendistortion_imshow_all_keeps_colors():
    figure = eigendistortion_imshow_all(make_eigendistortions(3), 1, process_image=lambda x: 1 - x)
    assert shown(figure.axes[0]).shape == (6, 8, 3)
    np.testing.assert_allclose(shown(figure.axes[2]), 0.4, rtol=1e-6)
    one = eigendistortion_imshow_all(make_eigendistortions(3), channel_idx=0, suptitle=None)
    assert shown(one.axes[0]).shape == (6, 8)


@pytest.mark.parametrize("channels", [3, 4])
def test_eigendistortion_imshow_all_scales_colors_about_gray(channels, rng):
    found = make_eigendistortions(channels)
    found.eigendistortions = 0.1 * jnp.asarray(rng.standard_normal((3, channels, 6, 8)))
    for index in (0, 1):
        (axes, *_) = eigendistortion_imshow_all(found, index).axes
        colors = np.moveaxis(np.asarray(found.eigendistortions[index, :3]), 0, -1)
        largest = np.abs(colors).max()
        np.testing.assert_allclose(shown(axes), 0.5 + colors / (2 * largest), atol=1e-6)
        assert f"range: [{-largest:.1e}, {largest:.1e}]" in axes.get_title()
    (axes, *_) = eigendistortion_imshow_all(found, 1, process_distortion=lambda x: 0.5 + x).axes
    np.testing.assert_allclose(shown(axes)[..., :3], (0.5 + colors).clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("index", [np.int64(47), np.array(47), np.array([47]), [np.int32(47)]])
def test_eigendistortion_imshow_all_takes_integers_of_numpy(index):
    figure = eigendistortion_imshow_all(make_eigendistortions(), index)
    assert heads(figure) == ["eigendistortion 47", "image", "image + 5 * eigendistortion 47"]


def test_eigendistortion_imshow_all_has_its_title_at_the_top_left():
    figure = eigendistortion_imshow_all(make_eigendistortions())
    figure.canvas.draw()
    (title,) = [text for text in figure.texts if text.get_text() == "Eigendistortions"]
    box, image = title.get_window_extent(), figure.axes[2].get_window_extent()
    assert abs(box.x0 - image.x0) < 3
    assert 0 < figure.bbox.y1 - box.y1 < 0.3 * figure.dpi
    assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)


def test_eigendistortion_plots_refuse():
    with pytest.raises(ValueError, match=r"one of those computed, \[0, 1, 47\], .* got 5"):
        eigendistortion_imshow_all(make_eigendistortions(), 5)
    with pytest.raises(ValueError, match="each of the 2 eigendistortions, got 1 numbers"):
        eigendistortion_imshow_all(make_eigendistortions(), distortion_scale=[2])
    with pytest.raises(ValueError, match="got 2 channels"):
        eigendistortion_imshow_all(make_eigendistortions(2))


def test_synthesis_plots_of_eigendistortions():
    found = make_eigendistortions()
    axes = synthesis_imshow(found, 47, distortion_scale=2)
    np.testing.assert_allclose(shown(axes), 0.56, rtol=1e-6)
    assert axes.get_title().startswith("Image + 2 * eigendistortion 47\n")
    figure = synthesis_status(found)
    assert len(figure.axes[1].patches) == 3
    assert_tidy(figure)


def make_state(z):
    zero = jnp.zeros((), jnp.int32)
    return State(z, z, jnp.zeros(()), (), (), None, zero + 3, zero, Status.running)


def test_synthesis_plots_of_states_traces_and_arrays():
    image = np.linspace(0, 1, 30).reshape(1, 6, 5)
    np.testing.assert_allclose(shown(synthesis_imshow(make_state(jnp.asarray(image)))), image[0])
    with pytest.raises(TypeError, match="The state must hold an image, got tuple"):
        synthesis_imshow(make_state((jnp.zeros(3), jnp.zeros(3))))
    assert synthesis_imshow(image).get_title().startswith("Image\n")
    trace = make_result().trace
    assert synthesis_imshow(trace).get_title().startswith("Image, step 15\n")
    axes = plt.figure().add_subplot()
    synthesis_loss(trace, ax=axes)
    synthesis_loss(np.array([3.0, 2.0, 1.0]), 1, ax=axes)
    assert axes.lines[3].get_xydata().tolist() == [[1, 2]]
    with pytest.raises(ValueError, match="result must have losses, got none"):
        synthesis_loss(image)
    with pytest.raises(ValueError, match="result must hold an image"):
        synthesis_imshow(make_result(recorded=()).trace)
