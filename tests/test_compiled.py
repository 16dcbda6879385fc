import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

import plenoptax as plx
from plenoptax import _compiled
from plenoptax._compiled import call_compiled, compiler_options, warn_of_deadlock


EMITTERS, THREADS = "xla_cpu_use_fusion_emitters", "xla_cpu_multi_thread_eigen"


@pytest.fixture
def version(monkeypatch):
    """Pretend that another jaxlib is installed, on the CPU."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    return lambda version: monkeypatch.setattr(jaxlib, "__version__", version)


def energy(image):
    return jnp.sum(jnp.sin(image) ** 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0.10.0", EMITTERS),
        ("0.10.2", EMITTERS),
        ("0.11.0.dev20260618", EMITTERS),
        ("0.11.1", THREADS),
        ("0.11.2", THREADS),
        ("0.12.0rc1", None),
        ("0.12.0.1", None),
    ],
)
def test_each_version_is_told_what_it_needs(version, given, expected):
    version(given)
    found = dict(compiler_options(100))
    assert found == ({} if expected is None else {expected: False})


def test_large_images_are_compiled_at_leisure(version):
    version("0.10.2")
    assert compiler_options(256 * 256) != ()
    assert compiler_options(512 * 512) == ()


def test_short_programs_are_compiled_at_leisure(version):
    version("0.10.2")
    assert compiler_options(100, is_long=False) == ()
    version("0.11.2")
    assert compiler_options(100, is_long=False) == ((THREADS, False),)


def test_whoever_sets_the_flag_is_left_alone(version, monkeypatch):
    version("0.10.2")
    monkeypatch.setenv("XLA_FLAGS", f"--{EMITTERS}=true")
    assert compiler_options(100) == ()


def test_other_devices_are_told_nothing(version, monkeypatch):
    version("0.11.2")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options(100) == ()
    warn_of_deadlock()


@pytest.mark.parametrize(
    "build",
    [
        lambda: plx.models.PortillaSimoncelli((32, 32), 2, 2, 3),
        lambda: plx.process.SteerablePyramidFreq((32, 32)),
    ],
)
def test_a_jaxlib_whose_transforms_deadlock_is_named(version, monkeypatch, build):
    version("0.11.2")
    with pytest.warns(RuntimeWarning, match=rf"0\.11\.2.*{THREADS}=false"):
        build()
    monkeypatch.setenv("XLA_FLAGS", f"--{THREADS}=false")
    build()


def test_what_is_told_reaches_the_compiler(monkeypatch):
    monkeypatch.setattr(_compiled, "compiler_options", lambda size: (("no_such_option", True),))
    with pytest.raises(Exception, match="no_such_option"):
        call_compiled(lambda image: image + 1, jnp.ones(3))


def test_in_a_hurry_the_same_is_computed(getkey):
    model = plx.models.PortillaSimoncelli((32, 32), 2, 2, 3)
    image = jax.random.uniform(getkey(), (1, 32, 32))
    np.testing.assert_allclose(call_compiled(model, image), model(image), rtol=1e-4, atol=1e-5)


def test_compiled_functions_are_part_of_other_programs(getkey):
    image = jax.random.uniform(getkey(), (3, 8, 8))
    expected = jax.vmap(energy)(image)
    kwargs = {"rtol": 1e-5}

    def one(image):
        return call_compiled(energy, image)

    np.testing.assert_allclose(jax.vmap(one)(image), expected, **kwargs)
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(image), expected, **kwargs)
    # Constants of another program are traced there, though nothing that is given is.
    np.testing.assert_allclose(jax.jit(lambda: one(image[0]))(), expected[0], **kwargs)
    gradient = jax.grad(one)(image[0])
    np.testing.assert_allclose(gradient, jnp.sin(2 * image[0]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jax.grad(lambda x: x * one(image[0]))(1.0), expected[0], **kwargs)


def test_a_problem_is_posed_inside_of_a_program():
    image = jnp.linspace(0, 1, 256).reshape(1, 16, 16)
    model = plx.models.Gaussian(3)

    def loss(other):
        return plx.Metamer(image, model).objective_function(other)

    assert float(jax.jit(loss)(image)) == pytest.approx(0, abs=1e-12)


def test_arguments_may_be_named():
    operator = plx.linalg.linearize(lambda x: 2 * x, jnp.ones(3))
    np.testing.assert_array_equal(operator(vectors=jnp.eye(3)), 2 * np.eye(3))


def test_a_second_image_compiles_nothing(getkey):
    traces = []

    def function(image):
        traces.append(image)
        return image * 2

    for _ in range(3):
        call_compiled(function, jax.random.uniform(getkey(), (4, 4)))
    assert len(traces) == 1
