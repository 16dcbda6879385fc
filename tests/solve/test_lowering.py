import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx

from .lowered import faults, lower


IMAGE = plx.data.brick()[:, :32, :32]
KERNEL = np.random.default_rng(0).normal(size=(4, 1, 3, 3)).astype(np.float32)


def network(image):
    """Two convolutions, the second over several channels."""
    channels = jax.lax.conv(image[None], jnp.asarray(KERNEL), (1, 1), "SAME")
    return jax.lax.conv(jnp.tanh(channels), jnp.asarray(KERNEL[:, [0] * 4]), (1, 1), "SAME")


def calls_python(image):
    """A model that calls Python whenever it is evaluated."""
    jax.debug.callback(lambda number: None, image[0, 0, 0])
    return jnp.tanh(image)


def has_double(image):
    """A model whose constant is a double."""
    return (image.astype(jnp.float64) * np.full((), 0.5)).astype(jnp.float32)


def moves_to_host(image):
    """A model that keeps a copy of the image in the memory of the host for a while."""
    away = jax.device_put(jax.lax.stop_gradient(image), jax.memory.Space.Host)
    return jnp.tanh(image) + jax.device_put(away, jax.memory.Space.Device)


def pose(model):
    return plx.Metamer(IMAGE, model)


def pose_batch(model):
    return plx.batch(lambda image: plx.Metamer(image, model), jnp.stack([IMAGE, 1 - IMAGE]))


PROBLEMS = {
    "texture": lambda: pose(plx.models.PortillaSimoncelli((32, 32), 2, 2, 3)),
    "front end": lambda: pose(plx.models.OnOff(31, pretrained=True)),
    "network": lambda: pose(network),
    "batch": lambda: pose_batch(plx.models.LinearNonlinear(5)),
    "batch of networks": lambda: pose_batch(network),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_programs_for_other_devices_stay_on_them_in_single_precision(name):
    problem = PROBLEMS[name]()
    # The CPU is another case only for networks.
    for platform in ("cuda", "tpu", *["cpu"] * ("network" in name)):
        programs = lower(problem, platform)
        assert len(programs) == (1 if platform == "cpu" else 2)
        assert "stablehlo.while" not in programs[0]
        assert all("stablehlo.while" in program for program in programs[1:])
        assert ["stablehlo.convolution" in program for program in programs] == (
            [True] * len(programs) if "network" in name else [False, False]
        )
        for program in programs:
            assert faults(program, platform) == set()


def found(problem, platform, driver=None):
    return set().union(*(faults(text, platform) for text in lower(problem, platform, driver)))


def test_a_callback_is_found():
    (name,) = faults(jax.jit(calls_python).lower(IMAGE).as_text(), "cpu")
    assert "callback" in name
    # For other devices, JAX itself does not lower it.
    for platform in ("cuda", "tpu"):
        with pytest.raises(ValueError, match=f"different from the lowering platform {platform}"):
            lower(pose(calls_python), platform)


def test_a_double_is_found(x64):
    assert found(pose(has_double), "cuda") == {"float64"}


def test_a_move_to_the_host_is_found():
    assert any("placement" in name for name in found(pose(moves_to_host), "tpu"))


def test_a_convolution_in_a_loop_is_found_where_it_is_slow():
    assert found(pose(network), "cpu", "chunk") == {"slow convolution"}
    assert found(pose(network), "cuda", "chunk") == set()
