"""Images whose last axis holds the channels are named as such, with a recipe that works."""

import re
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax._axes import has_channels_last


pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def color(rng):
    """A color image as most libraries hold it."""
    return jnp.asarray(rng.random((40, 36, 3)), jnp.float32)


@pytest.mark.parametrize(
    ("shape", "is_last"),
    [
        ((64, 48, 3), True),
        ((64, 48, 1), True),
        ((7, 64, 64, 4), True),
        ((1, 64, 3), False),
        ((3, 64, 3), False),
        ((3, 64, 64), False),
        ((4, 3, 64, 64), False),
        ((5, 1, 64, 3), False),
        ((64, 64, 2), False),
        ((64, 3), False),
        ((3, 3, 3), False),
    ],
)
def test_shapes_with_the_channels_last_are_recognized(shape, is_last):
    assert has_channels_last(shape) is is_last


def save(image, folder):
    plx.data.save_image(folder / "image.png", image)


def texture(image, folder):
    model = plx.models.PortillaSimoncelli((40, 36), 1, 2, 1)
    return eqx.filter_eval_shape(model, image)


def texture_of_its_size(image, folder):
    return plx.models.PortillaSimoncelli(image.shape[-2:], 1, 2, 1)


def pyramid(image, folder):
    return eqx.filter_eval_shape(plx.process.SteerablePyramidFreq((40, 36), 1), image)


def pyramid_of_its_size(image, folder):
    return plx.process.SteerablePyramidFreq(image.shape[-2:], 1)


@pytest.mark.parametrize("use", [save, texture, texture_of_its_size, pyramid, pyramid_of_its_size])
def test_errors_name_the_axes_and_their_recipe_works(use, color, tmp_path):
    with pytest.raises(ValueError, match=r"\(height, width, channel\)") as caught:
        use(color, tmp_path)
    recipe = re.search(r"jnp\.moveaxis\(.*?\)", str(caught.value)).group()
    image = eval(recipe, {"jnp": jnp, "image": color})
    assert image.shape == (3, 40, 36)
    use(image, tmp_path)


def test_whole_shapes_and_colors_of_figures_name_the_axes(color):
    for use in (
        lambda: plx.models.PortillaSimoncelli(color.shape),
        lambda: plx.process.SteerablePyramidFreq(color.shape),
        lambda: plx.plot.imshow(color, as_rgb=True),
        lambda: plx.validate.validate_input(color[None], no_batch=True),
    ):
        with pytest.raises(ValueError, match=r"jnp\.moveaxis\(image"):
            use()


@pytest.mark.parametrize(
    "model", [plx.models.Gaussian(3), plx.models.Linear(), plx.models.CenterSurround(3)]
)
def test_models_of_one_channel_name_the_axes(model, color):
    with pytest.raises(ValueError, match=r"\(40, 36, 1\) looks like \(height, width, channel\)"):
        model(color[..., :1])
    moved = jax.eval_shape(model, jnp.moveaxis(color[..., :1], -1, 0))
    assert moved.shape[-2:] == (40, 36)
    with pytest.raises(ValueError, match=r"as image\[None\]"):
        model(color[..., 0])


def test_a_height_and_a_width_that_are_none_are_named():
    with pytest.raises(
        ValueError, match=r"\(3, 64\) is the start of an image shape .* image.shape\[-2:\]"
    ):
        plx.models.PortillaSimoncelli((3, 64))
    with pytest.raises(ValueError, match=r"64 pixels along each axis, got \(7, 64\)\.$"):
        plx.models.PortillaSimoncelli((7, 64))
    with pytest.raises(ValueError, match=r"Use n_scales <= 2"):
        plx.models.PortillaSimoncelli((31, 64))


def of_three_channels(image):
    return jnp.tensordot(jnp.ones((2, 3)), image, axes=1)


def test_what_a_model_of_the_users_says_gets_a_note(color):
    with pytest.raises(TypeError) as caught:
        plx.Metamer(color, of_three_channels)
    assert "jnp.moveaxis(image, -1, 0)" in "".join(caught.value.__notes__)
    plx.Metamer(jnp.moveaxis(color, -1, 0), of_three_channels)
    with pytest.raises(TypeError) as caught:
        plx.Objective(lambda image: of_three_channels(image).sum(), color.shape)
    assert "jnp.moveaxis(image, -1, 0)" in "".join(caught.value.__notes__)


def test_a_network_of_channels_last_gets_a_note_about_its_image():
    image = jnp.zeros((3, 40, 36))

    def of_channels_last(image):
        return image @ jnp.ones((3, 2))

    with pytest.raises(TypeError) as caught:
        plx.metamer(image, of_channels_last, key=jax.random.key(0))
    note = caught.value.__notes__[-1]
    assert "(3, 40, 36): channel, height, width" in note
    assert "FeatureExtractor" in note
    # What plenoptax itself says needs no such note.
    with pytest.raises(ValueError) as caught:
        plx.metamer(image, plx.models.Gaussian(3), key=jax.random.key(0))
    assert "FeatureExtractor" not in "".join(getattr(caught.value, "__notes__", []))


@pytest.mark.parametrize("model", [plx.models.Gaussian(3), of_three_channels])
def test_batches_are_named_too(model, color):
    images = jnp.stack([color, color])
    with pytest.raises((TypeError, ValueError)) as caught:
        plx.metamer(images, model, key=jax.random.key(0), batch=True)
    (recipe,) = re.findall(r"jnp\.moveaxis\(images.*?\)", "".join(caught.value.__notes__))
    assert eval(recipe, {"jnp": jnp, "images": images}).shape == (2, 3, 40, 36)


def test_what_takes_such_arrays_nevertheless_warns(color):
    for use in (
        lambda: jax.eval_shape(plx.metric.nlpd, color, color),
        lambda: jax.eval_shape(plx.metric.NLP("matlab"), color),
        lambda: jax.eval_shape(plx.process.LaplacianPyramid(2), color),
        lambda: plx.plot.imshow(color[:5, :5]),
    ):
        with pytest.warns(UserWarning, match=r"looks like \(height, width, channel\)") as caught:
            use()
        assert len(caught) == 1
    with pytest.warns(UserWarning, match="window of 11"), pytest.warns(UserWarning, match="looks"):
        jax.eval_shape(plx.metric.ssim, color, color)


def test_three_columns_alone_are_no_fault(rng):
    narrow = jnp.asarray(rng.random((1, 40, 3)), jnp.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        jax.eval_shape(plx.metric.nlpd, narrow, narrow)
        plx.validate.validate_model(plx.models.Gaussian(3), narrow.shape)
        plx.Metamer(jnp.moveaxis(narrow, 0, -1), jnp.sin)
        plx.plot.imshow(np.repeat(narrow, 3, 0))
    assert caught == []
