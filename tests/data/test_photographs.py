import importlib.util
from pathlib import Path

import imageio.v3 as iio
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax import data


NAMES = ("astronaut", "brick", "camera", "chelsea", "grass", "gravel")
COLOR = ("astronaut", "chelsea")
FOLDER = Path(data.__file__).parent / "photographs"


@pytest.mark.parametrize("name", NAMES)
def test_photograph_has_its_channels_and_a_wide_range(name):
    image = getattr(data, name)()
    assert image.shape == (3 if name in COLOR else 1, 256, 256)
    assert image.dtype == jnp.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.max() - image.min() > 0.4
    assert jnp.array_equal(image, data.get(name))


@pytest.mark.parametrize("name", NAMES)
def test_photograph_is_gray_or_color_as_asked(name):
    gray, color = data.get(name, as_gray=True), data.get(name, as_gray=False)
    assert gray.shape == (1, 256, 256)
    assert color.shape == (3, 256, 256)
    weights = np.array([0.2125, 0.7154, 0.0721])
    np.testing.assert_allclose(gray[0], np.tensordot(weights, color, 1), atol=1e-6)
    assert (name in COLOR) != bool(jnp.array_equal(color[0], color[2]))


def test_photograph_is_exact_in_float64(x64):
    pixels = iio.imread(FOLDER / "camera.png")
    assert np.array_equal(data.camera()[0], pixels / 255)


def test_get_lists_the_known_names():
    with pytest.raises(
        ValueError, match="one of astronaut, brick, camera, chelsea, grass, .* got 'einstein'"
    ):
        data.get("einstein")


def test_photographs_are_small_and_documented():
    files = sorted(FOLDER.glob("*.png"))
    assert [file.stem for file in files] == sorted(NAMES)
    assert sum(file.stat().st_size for file in files) < 600_000
    table = (FOLDER / "README.md").read_text()
    assert all(f"`{name}.png`" in table for name in NAMES)


def test_photographs_are_those_that_the_script_makes():
    pytest.importorskip("skimage")
    script = Path(__file__).parents[1] / "reference" / "make_photographs.py"
    spec = importlib.util.spec_from_file_location("make_photographs", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in NAMES:
        assert np.array_equal(iio.imread(FOLDER / f"{name}.png"), module.photograph(name))
