"""The recipe for Keras of the tutorial, executed where Keras is installed."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest


ROOT = pathlib.Path(__file__).parents[2]

IMPORTS = textwrap.dedent("""
    import equinox as eqx, jax.numpy as jnp, keras
    from jax.ad_checkpoint import checkpoint_name
""")

CHECK = textwrap.dedent("""
    import jax, numpy as np, re
    import plenoptax as plx
    from plenoptax.models.features import FeatureExtractor, layer_names

    keras.utils.set_random_seed(0)
    start = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu", name="first")(start)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Conv2D(8, 3, name="second")(x)
    network = keras.Model(start, keras.layers.Conv2D(4, 3, name="third")(x))

    image = jax.random.uniform(jax.random.key(0), (3, 16, 16))
    layers = KerasLayers(network, ["first", "second", "third"])
    assert layer_names(layers, image) == ("first", "second", "third")
    model = FeatureExtractor(layers, ["first", "second"])
    found = model(image)
    for name, response in found.items():
        part = keras.Model(network.inputs, network.get_layer(name).output)
        right = part(jnp.moveaxis(image, 0, -1)[None])[0]
        np.testing.assert_allclose(jnp.moveaxis(response, 0, -1), right, atol=1e-5)
    for name, count in {"first": 1, "second": 2, "third": 3}.items():
        arrays, rest = eqx.partition(FeatureExtractor(layers, name), eqx.is_array)
        lowered = jax.jit(lambda a, x: eqx.combine(a, rest)(x)).lower(arrays, image)
        assert len(re.findall(r" convolution\\(", lowered.compile().as_text())) == count
    passing = FeatureExtractor(layers, "first", relu_gradient="identity")
    dead = jax.grad(lambda x: passing(x)["first"].sum())(0 * image)
    assert np.abs(dead).max() > 0
    objective = lambda x: plx.loss.mse(model(x), found)
    assert np.abs(jax.jit(jax.grad(objective))(0.5 + 0 * image)).max() > 0
    print("done")
""")


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
def test_the_recipe_for_keras_gives_the_layers_of_keras():
    page = (ROOT / "notebooks" / "your_network.md").read_text()
    _, _, rest = page.partition("else:\n    import keras\n")
    recipe = textwrap.dedent(rest.partition("    start = keras.Input")[0])
    assert "class KerasLayers" in recipe
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS + recipe + CHECK],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax"},
    )
    assert done.stdout == "done\n", done.stderr
