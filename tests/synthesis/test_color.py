"""Color images under models of one channel, and under models that measure each channel alone."""

import pathlib
import re
import sys
import warnings
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax.synthesis._judge import judge, say_no_null
from plenoptax.synthesis._null import null_of_model


OPTIONS = {"key": jax.random.key(0), "progress": False}


@pytest.fixture
def color(rng):
    return jnp.asarray(rng.random((3, 8, 9)), jnp.float32)


class Lone(eqx.Module):
    """A model that says of itself that it measures each channel alone."""

    relates_channels: ClassVar[bool] = False
    scales: ClassVar[list[str]] = ["coarse", "fine"]

    def __call__(self, image, scales=None):
        return image[:, :: 1 if scales is None else 2]


@pytest.fixture
def unrun(monkeypatch):
    """Pose problems and do not solve them, which compiles nothing."""
    for name in ("_metamer", "_metamer_ctf"):
        module = sys.modules[f"plenoptax.synthesis.{name}"]
        monkeypatch.setattr(module, "synthesize_problem", lambda problem, *a, **k: problem)


@pytest.mark.parametrize("method", [plx.metamer, plx.metamer_ctf])
@pytest.mark.parametrize("more", [{}, {"batch": True}, {"num_seeds": 2}])
def test_color_under_a_texture_model_warns_once(method, more, color, unrun, unchecked):
    images = jnp.stack([color, 1 - color]) if "batch" in more else color
    with pytest.warns(UserWarning, match="Lone measures each of the 3 channels alone") as caught:
        method(images, Lone(), **more, **OPTIONS)
    (warning,) = caught
    # At the line of the caller; here, the type checks of the tests stand between.
    assert str(pathlib.Path(plx.__file__).parent) not in warning.filename
    assert "plx.load_images(..., as_gray=True)" in str(warning.message)
    recipe = re.search(r"images?\.mean\(.*?\)", str(warning.message)).group()
    gray = eval(recipe, {"image": images, "images": images})
    assert gray.shape == (*images.shape[:-3], 1, 8, 9)
    # No warning: it would be an error here.
    method(gray, Lone(), **more, **OPTIONS)


@pytest.mark.parametrize("wrap", [eqx.filter_jit, jax.tree_util.Partial])
def test_wrapped_models_warn_too(wrap, color):
    model = plx.models.PortillaSimoncelli((8, 9), 1, 2, 1)
    with pytest.warns(UserWarning, match="PortillaSimoncelli measures each of the 3 channels"):
        plx.Metamer(color, wrap(model), plx.loss.mse)


def test_models_that_relate_channels_do_not_warn(color):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plx.Metamer(color, plx.models.Identity())
        plx.Metamer(color, jnp.sin)
    assert caught == []


def test_gray_photographs_judge_no_color():
    model = plx.models.PortillaSimoncelli((128, 128))
    gray, color = jnp.ones((1, 710)), jnp.ones((3, 710))
    assert null_of_model(model, gray) is not None
    assert null_of_model(model, color) is None
    assert all(group.passes is None for group in judge(model, color, color, None).values())
    assert "each of the 3 channels alone" in say_no_null(model, color)
    assert "gray photographs" in say_no_null(model, color)


def of_one_channel(key):
    return {
        "Gaussian": plx.models.Gaussian(3),
        "CenterSurround": plx.models.CenterSurround(3),
        "Linear": plx.models.Linear(),
        "LinearNonlinear": plx.models.LinearNonlinear(3),
        "LuminanceGainControl": plx.models.LuminanceGainControl(3, key=key),
        "LuminanceContrastGainControl": plx.models.LuminanceContrastGainControl(3, key=key),
        "OnOff": plx.models.OnOff(3, key=key),
    }


def recipes_of(model, image):
    """The pieces of code in what a model says about an image."""
    with pytest.raises(ValueError, match="For 3 channels") as caught:
        model(image)
    return re.findall("`(.*?)`", str(caught.value))


@pytest.mark.parametrize("name", of_one_channel(jax.random.key(0)))
def test_models_of_one_channel_refuse_color_with_a_recipe_that_runs(name, color, getkey, unchecked):
    model = of_one_channel(getkey())[name]
    definition, gray = recipes_of(model, color)
    names = {"jax": jax, "jnp": jnp, "model": model, "image": color}
    exec(definition, names)
    shape = jax.eval_shape(names["each_channel"], color).shape
    assert shape == (3, *jax.eval_shape(model, eval(gray, names)).shape)
    if name in ("Gaussian", "OnOff"):
        found = jax.jit(names["each_channel"])(color)[1]
        np.testing.assert_allclose(found, eqx.filter_jit(model)(color[1:2]), rtol=1e-5, atol=1e-6)


def test_the_recipe_synthesizes_compiles_once_and_is_judged(color, rng, unchecked):
    color, compiled = color[:, :5, :4], []
    names = {"jax": jax, "model": plx.models.Gaussian(3)}
    exec(recipes_of(names["model"], color)[0], names)

    def listen(event, duration, **unused):
        compiled.append(event) if event.endswith("backend_compile_duration") else None

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for image in (color, 1 - color):
            compiled.clear()
            result = plx.metamer(image, names["each_channel"], max_steps=60, **OPTIONS)
    finally:
        jax.monitoring.clear_event_listeners()
    assert compiled == []
    assert result.trace.losses[-1] < 0.1 * result.trace.losses[0]
    assert result.success is None
    images = jnp.asarray(rng.random((200, 3, 5, 4)), jnp.float32)
    assert result.report(null=images).success is True
    with pytest.raises(ValueError, match="as many channels"):
        result.report(null=images[:8, :2])
    # Three channels that are measured alike have each eigenvalue three times.
    found = plx.eigendistortions(color, names["each_channel"], method="exact", progress=False)
    found = np.asarray(found.eigenvalues)
    assert found.shape == (60,)
    np.testing.assert_allclose(found[::3], found[2::3], rtol=1e-3, atol=1e-5)
