import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from plenoptax import metamer
from plenoptax.models import Gaussian
from plenoptax.plot import (
    metamer_representation_error,
    synthesis_imshow,
    synthesis_loss,
    synthesis_status,
)

from .standins import MAD, make_result, vector


def dot(axes):
    return axes.lines[1].get_xydata()[0]


def test_synthesis_loss_is_the_trace():
    result = make_result()
    axes = synthesis_loss(result)["loss"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), result.trace.losses)
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), np.arange(21))
    assert axes is plt.gca()
    assert axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Synthesis step", "Loss")


@pytest.mark.parametrize(
    ("iteration", "step"), [(None, 20), (0, 0), (7, 7), (20, 20), (-1, 20), (-21, 0)]
)
def test_synthesis_loss_dot_is_at_the_iteration(iteration, step):
    axes = synthesis_loss(make_result(), iteration)["loss"]
    np.testing.assert_array_equal(dot(axes), (step, 0.5**step))


def test_synthesis_loss_dot_is_at_the_best_image_if_that_is_the_result():
    result = make_result()
    result.trace.losses[13:] = 1.0
    result.trace.best_image, result.trace.best_loss = result.image, result.trace.losses[12]
    assert dot(synthesis_loss(result)["loss"])[0] == 12


def test_synthesis_loss_that_is_not_positive_has_a_linear_axis():
    result = make_result()
    result.trace.losses[3] = -1
    assert synthesis_loss(result)["loss"].get_yscale() == "linear"


def test_synthesis_loss_with_gaps_has_a_logarithmic_axis():
    result = make_result()
    result.trace.losses[3] = np.nan
    axes = synthesis_loss(result)["loss"]
    axes.figure.canvas.draw()
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        (1.0983 + 0.001 * np.arange(5), {"1.099", "1.1", "1.101"}),
        (0.15 + 0.1 * np.arange(5), {"0.2", "0.3", "0.4"}),
        (10.0 ** -np.arange(5), {"$\\mathdefault{10^{-2}}$"}),
    ],
)
def test_synthesis_loss_within_a_decade_has_plain_numbers(losses, wanted):
    axes = synthesis_loss(losses)["loss"]
    axes.figure.canvas.draw()
    ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    labels = {tick.label1.get_text() for tick in ticks}
    assert wanted <= labels
    assert not any("times" in label for label in labels)


def test_synthesis_loss_shows_penalties_and_takes_options():
    result = make_result()
    given = plt.figure().add_subplot()
    axes = synthesis_loss(result, None, True, given, color="k", label="metamer")["loss"]
    assert axes is given
    np.testing.assert_array_equal(axes.lines[2].get_ydata(), result.trace.penalties)
    assert axes.lines[0].get_color() == "k"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["metamer", "penalty"]


@pytest.mark.parametrize("iteration", [21, -22])
def test_synthesis_loss_refuses_other_iterations(iteration):
    with pytest.raises(ValueError, match=f"iteration must be .* and 20 .* got {iteration}"):
        synthesis_loss(make_result(), iteration)


@pytest.mark.parametrize(
    ("iteration", "step"),
    [(None, 20), (0, 0), (2, 0), (3, 5), (10, 10), (17, 15), (18, 20), (-1, 20), (-4, 15)],
)
def test_synthesis_imshow_shows_the_nearest_recorded_image(iteration, step):
    result = make_result()
    axes = synthesis_imshow(result, iteration=iteration)
    share = 1 if step == 20 else step / 21
    np.testing.assert_allclose(
        axes.images[0].get_array(), np.asarray(result.image[0]) * share, rtol=1e-6
    )
    assert axes.get_title().splitlines()[0] == f"Metamer, step {step}"
    assert axes.images[0].get_clim() == (0, 1)


def test_synthesis_imshow_without_recorded_images_shows_the_last_only():
    result = make_result(recorded=())
    synthesis_imshow(result, iteration=-1)
    result.trace.image_steps = np.array([], int)
    synthesis_imshow(result, iteration=20)
    with pytest.raises(ValueError, match="because no images were recorded, got 3"):
        synthesis_imshow(result, iteration=3)


def test_synthesis_imshow_options():
    result = make_result()
    axes = synthesis_imshow(
        result, process_image=lambda image: 2 * image, zoom=3, title="mine", vrange="indep1"
    )
    np.testing.assert_allclose(axes.images[0].get_array(), 2 * np.asarray(result.image[0]))
    assert axes.get_title() == "mine\nrange: [0.0e+00, 2.0e+00]\ndims: [12, 10] * 3"
    given = plt.figure().add_subplot()
    assert synthesis_imshow(result, ax=given) is given


def test_synthesis_imshow_of_channels(rng):
    colors = make_result(image=jnp.asarray(rng.random((3, 8, 8))))
    assert synthesis_imshow(colors).images[0].get_array().shape == (8, 8, 3)
    axes = synthesis_imshow(colors, channel_idx=1)
    np.testing.assert_allclose(axes.images[0].get_array(), np.asarray(colors.image[1]), rtol=1e-6)
    with pytest.raises(ValueError, match="got 2 channels. Choose one"):
        synthesis_imshow(make_result(image=jnp.ones((2, 8, 8))))


@pytest.mark.parametrize("index", [1, -2])
def test_synthesis_imshow_refuses_elements_of_one_synthesis(index):
    with pytest.raises(ValueError, match=f"for a result of 1 synthesis, got {index}"):
        synthesis_imshow(make_result(), index)


@pytest.mark.parametrize(("iteration", "share"), [(None, 1), (10, 10 / 21)])
def test_metamer_representation_error_is_the_difference(iteration, share):
    result = make_result(vector)
    (axes,) = metamer_representation_error(result, iteration=iteration)
    expected = (share - 0.5) * vector(np.asarray(result.image))[0]
    stems = axes.containers[0].markerline.get_ydata()
    np.testing.assert_allclose(stems, expected, atol=1e-6)
    low, high = axes.get_ylim()
    assert low == -high
    step = 20 if iteration is None else iteration
    assert axes.get_title() == f"Representation error, step {step}"


def test_metamer_representation_error_of_a_tree():
    axes = metamer_representation_error(make_result())
    assert [one.get_title().splitlines()[0] for one in axes] == ["map", "mean"]


def test_metamer_representation_error_passes_options_to_the_model():
    def model(image, gain=1.0):
        return gain * vector(image)

    result = make_result(model)
    (axes,) = metamer_representation_error(result, gain=0.5)
    np.testing.assert_allclose(axes.containers[0].markerline.get_ydata(), 0, atol=1e-6)


def test_metamer_representation_error_refuses_other_problems():
    with pytest.raises(ValueError, match="must have a model and a target .* got MAD"):
        metamer_representation_error(make_result(problem=MAD()))


def test_synthesis_status_has_three_plots_of_one_step():
    figure = synthesis_status(make_result(vector), iteration=9)
    picture, loss, error = figure.axes
    assert picture.get_title().startswith("Metamer, step 10\n")
    assert dot(loss)[0] == 10
    assert loss.get_title() == "Loss 0.000977 at step 10"
    assert error.get_title() == "Representation error, step 10"
    assert len(picture.images) == 1
    assert len(loss.lines) == 2
    assert len(error.containers) == 1


def test_synthesis_status_says_why_it_stopped():
    (text,) = synthesis_status(make_result(vector)).texts
    assert text.get_text().replace("\n", " ").startswith("The stop rule fired")


def test_synthesis_status_of_a_problem_without_target_has_two_plots():
    figure = synthesis_status(make_result(problem=MAD()))
    assert [axes.get_title().splitlines()[0].split()[0] for axes in figure.axes] == ["MAD,", "Loss"]


@pytest.mark.parametrize("size", [20, 64, 256, 600])
def test_synthesis_status_panels_are_whole_and_apart(size):
    image = jnp.linspace(0, 1, size**2).reshape(1, size, size)
    figure = synthesis_status(make_result(image=image, recorded=()))
    figure.canvas.draw()
    shown = [axes for axes in figure.axes if axes.axison or axes.images]
    boxes = [axes.get_tightbbox() for axes in shown] + [
        text.get_window_extent() for text in figure.texts
    ]
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert not any(
        boxes[i].overlaps(boxes[j]) for i in range(len(boxes)) for j in range(i + 1, len(boxes))
    )


def maps(image):
    layer = jnp.stack([image[0] * (index + 1) for index in range(8)])
    return {"a": layer, "b": jnp.concatenate([layer, layer[:4] - 0.5]), "mean": layer.mean((1, 2))}


def test_synthesis_status_of_a_network_is_readable():
    image = jnp.linspace(0, 1, 32**2).reshape(1, 32, 32)
    figure = synthesis_status(make_result(maps, image))
    figure.canvas.draw()
    axes = figure.axes[3:]
    assert [len([one for one in axes if one.images]), len(axes)] == [20, 21]
    pictures = [one.get_window_extent() for one in axes]
    assert all((box.size >= 60).all() for box in pictures)
    assert len({one.title.get_fontsize() for one in axes}) == 1
    heads = [one.get_title().split("\n") for one in axes]
    assert heads[0][0].startswith("a, range: [")
    assert heads[8][0].startswith("b, range: [")
    assert [head[-1] for head in heads] == [*(f"[{i}]" for i in (*range(8), *range(12))), "mean"]
    # A row for each layer, or several.
    assert pictures[8].y1 < pictures[7].y0
    assert pictures[20].y1 < pictures[19].y0
    titles = [one.title.get_window_extent() for one in axes]
    # The name of a layer reaches across the titles of its maps, a line above them.
    for title, head in zip(titles, heads, strict=True):
        title.y0 += (len(head) - 1) / 2 * title.height
    boxes = titles + pictures
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_synthesis_status_has_room_for_the_heads_of_stems():
    image = jnp.linspace(0, 1, 32**2).reshape(1, 32, 32)
    axes = synthesis_status(make_result(maps, image)).axes[-1]
    axes.figure.canvas.draw()
    heads = axes.containers[0].markerline
    radius = (heads.get_markersize() + heads.get_markeredgewidth()) / 2 * axes.figure.dpi / 72
    tops = axes.transData.transform(heads.get_xydata())[:, 1]
    assert tops.max() + radius <= axes.get_window_extent().y1


def test_synthesis_status_image_has_whole_pixels():
    image = jnp.linspace(0, 1, 256**2).reshape(1, 256, 256)
    picture = synthesis_status(make_result(image=image)).axes[0]
    picture.figure.canvas.draw()
    np.testing.assert_allclose(picture.get_window_extent().size, (512, 512), atol=1e-3)


def test_synthesis_status_with_some_plots():
    figure = synthesis_status(make_result(), included_plots=["synthesis_loss"], iteration=3)
    assert dot(figure.axes[0])[0] == 3
    figure = synthesis_status(
        make_result(vector),
        included_plots=["metamer_representation_error", "synthesis_imshow"],
        synthesis_imshow_kwargs={"title": "mine", "zoom": 2},
        width_ratios={"synthesis_imshow": 2},
        figsize=(15, 5),
    )
    assert figure.axes[1].get_title().startswith("mine\n")
    np.testing.assert_allclose(figure.get_size_inches(), (15, 5))


@pytest.mark.parametrize("shape", [(40,), (1, 40)])
def test_a_sound_is_a_line(shape):
    sound = jnp.linspace(-1, 1, 40).reshape(shape)
    result = make_result(lambda sound: sound.ravel()[:5], sound)
    axes, loss, error = synthesis_status(result).axes
    assert (len(axes.images), len(axes.lines), len(loss.lines)) == (0, 1, 2)
    assert len(error.containers) == 1
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), sound.ravel())
    assert (axes.get_title(), axes.get_xlabel()) == ("Metamer, step 20", "Sample")
    axes = synthesis_imshow(result, iteration=10, process_image=lambda x: 2 * x, title="louder")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), sound.ravel() * 20 / 21, rtol=1e-6)
    assert axes.get_title() == "louder"


def test_a_spectrogram_is_a_picture():
    spectrogram = jnp.linspace(0, 1, 84).reshape(21, 4)
    result = make_result(lambda image: image.mean(axis=1), spectrogram)
    axes = synthesis_status(result).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), spectrogram)
    assert len(axes.lines) == 0


def test_synthesis_status_in_a_figure_leaves_axes_alone():
    figure, axes = plt.subplots(2, 2, figsize=(12, 8))
    out = synthesis_status(
        make_result(vector), fig=figure, axes_idx={"synthesis_loss": 3, "misc": [0]}
    )
    assert out is figure
    assert not axes[0, 0].has_data()
    assert len(axes[0, 1].images) == 1
    assert len(axes[1, 0].containers) == 1
    assert len(axes[1, 1].lines) == 2
    assert not figure.texts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"included_plots": ["loss"]}, "The name of a plot must be one of .* got 'loss'"),
        ({"included_plots": ["misc"]}, "The name of a plot must be .* got 'misc'"),
        ({"width_ratios": {"loss": 2}}, "The name of a plot must be .* got 'loss'"),
        ({"axes_idx": {"loss": 2}}, "The name of a plot must be .* got 'loss'"),
        ({"vrange": {}}, "such as synthesis_loss_kwargs, got vrange"),
        ({"iteration": 40}, "iteration must be .* got 40"),
        ({"batch_idx": 1}, "batch_idx must be .* got 1"),
    ],
)
def test_synthesis_status_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        synthesis_status(make_result(), **options)
    assert not plt.get_fignums()


def test_synthesis_status_refuses_a_figure_of_too_few_axes():
    figure, _ = plt.subplots(1, 2)
    with pytest.raises(ValueError, match="The figure must have axes for each plot .* got 2 axes"):
        synthesis_status(make_result(), fig=figure)
    with pytest.raises(ValueError, match="The figure must have axes for each plot .* got 2 axes"):
        synthesis_status(make_result(), fig=figure, axes_idx={"synthesis_loss": 5})


@pytest.fixture(scope="module")
def batch():
    image = jnp.linspace(0, 1, 256, dtype=jnp.float32).reshape(1, 16, 16)
    return metamer(
        image,
        Gaussian(3),
        key=jax.random.key(0),
        num_seeds=2,
        max_steps=4,
        record=2,
        progress=False,
    )


def test_synthesis_status_of_an_element_of_a_batch(batch):
    picture, loss, error = synthesis_status(batch, batch_idx=1).axes
    np.testing.assert_allclose(picture.images[0].get_array(), batch[1].image[0], rtol=1e-6)
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), batch.trace[1].losses)
    difference = batch.problem[1].model(batch[1].image) - batch.problem[1].target
    np.testing.assert_allclose(error.images[0].get_array(), difference[0], atol=1e-6)


@pytest.mark.parametrize(("index", "element"), [(0, 0), (1, 1), (-1, 1)])
def test_synthesis_plots_say_which_element_they_show(batch, index, element):
    picture = synthesis_status(batch, index).axes[0]
    assert picture.get_title().startswith(f"Metamer (element {element} of 2), step 4\n")
    for source, name in ((batch.trace, "Image"), (batch.state, "State")):
        axes = synthesis_imshow(source, index)
        assert axes.get_title().startswith(f"{name} (element {element} of 2), step")


def test_synthesis_imshow_of_an_element_at_an_iteration(batch):
    axes = synthesis_imshow(batch, 1, iteration=2)
    recorded = batch.trace[1].images[list(batch.trace[1].image_steps).index(2)]
    np.testing.assert_allclose(axes.images[0].get_array(), recorded[0], rtol=1e-6)


def test_synthesis_loss_of_a_batch_has_a_line_for_each_element(batch):
    axes = synthesis_loss(batch)["loss"]
    lines = [line.get_ydata() for line in axes.lines if line.get_label() != "_step"]
    np.testing.assert_array_equal(lines, [trace.losses for trace in batch.trace.elements])
    axes = synthesis_loss(batch, batch_idx=0, ax=plt.figure().add_subplot())["loss"]
    assert len(axes.lines) == 2


def test_synthesis_plots_refuse_other_elements(batch):
    with pytest.raises(ValueError, match="for a result of 2 syntheses, got 2"):
        synthesis_status(batch, 2)
