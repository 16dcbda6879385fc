import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

import plenoptax as plx
from plenoptax import _compiled
from plenoptax._compiled import call_compiled, plan_steps, warn_of_deadlock


EMITTERS, THREADS = "xla_cpu_use_fusion_emitters", "xla_cpu_multi_thread_eigen"


@pytest.fixture
def version(monkeypatch):
    """Pretend that another jaxlib is installed, on the CPU."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")

    def pretend(numbers):
        monkeypatch.setattr(_compiled, "VERSION", numbers)
        monkeypatch.setattr(jaxlib, "__version__", ".".join(map(str, numbers)))

    return pretend


def energy(image):
    return jnp.sum(jnp.sin(image) ** 2)


OLD, DEADLOCKED, NEW = (0, 10, 2), (0, 11, 2), (0, 12, 0)
LONG, SHORT, LARGE = (256**2, 2000), (256**2, 600), (512**2, 2000)
HURRY = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}


# Platform, version of jaxlib, size and equations, convolutions, elements, devices; and the driver,
# whether elements are taken in turn, and what XLA is told.
@pytest.mark.parametrize(
    ("situation", "wanted"),
    [
        (("cpu", OLD, LONG, False, 1), ("chunk", True, HURRY)),
        (("cpu", (0, 11, 0), LONG, False, 1), ("chunk", True, HURRY)),
        (("cpu", OLD, SHORT, False, 1), ("chunk", True, {})),
        (("cpu", OLD, LARGE, False, 1), ("chunk", True, {})),
        (("cpu", (0, 11, 1), LONG, False, 1), ("chunk", True, {THREADS: False})),
        (("cpu", DEADLOCKED, SHORT, False, 1), ("chunk", True, {THREADS: False})),
        (("cpu", NEW, LONG, False, 1), ("chunk", True, {})),
        (("cpu", OLD, SHORT, False, 16), ("chunk", True, {})),
        (("cpu", OLD, SHORT, True, 1), ("host", True, {})),
        (("cpu", OLD, SHORT, True, 16), ("host", False, {})),
        (("cuda", OLD, LONG, False, 1), ("chunk", True, {})),
        (("cuda", OLD, LONG, True, 16), ("chunk", False, {})),
        (("cuda", DEADLOCKED, LONG, False, 16), ("chunk", False, {})),
        (("tpu", OLD, LONG, True, 1), ("chunk", True, {})),
        (("tpu", OLD, LONG, False, 16), ("chunk", False, {})),
    ],
)
def test_how_steps_are_taken_and_compiled(situation, wanted):
    platform, version, (size, equations), convolves, elements = situation
    plan = plan_steps(
        platform,
        version,
        size=size,
        num_equations=equations,
        has_convolutions=convolves,
        num_elements=elements,
    )
    assert (plan.driver, plan.in_turn, dict(plan.options)) == wanted


def told(function, *arguments):
    """What XLA is told when a function is called."""
    found = []

    def jit(function, options, donate="none"):
        found.append(dict(options))
        return function

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compiled, "jit", jit)
        function(*arguments)
    return found[-1]


def test_programs_are_compiled_by_the_size_of_their_largest_array(version):
    version(OLD)
    hurried = told(call_compiled, energy, jnp.ones((256, 256)))
    # The tests are compiled without optimizations anyway.
    assert hurried == {name: HURRY[name] for name in HURRY if "level" not in name}
    assert told(call_compiled, energy, jnp.ones((512, 512))) == {}


def test_whoever_sets_a_flag_is_left_alone(version, monkeypatch):
    version(OLD)
    monkeypatch.setenv("XLA_FLAGS", f"--{EMITTERS}=true")
    assert EMITTERS not in told(call_compiled, energy, jnp.ones((2, 2)))


def test_other_devices_are_told_nothing(version, monkeypatch):
    version(DEADLOCKED)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert told(call_compiled, energy, jnp.ones((2, 2))) == {}
    warn_of_deadlock()


@pytest.mark.parametrize(
    "build",
    [
        lambda: plx.models.PortillaSimoncelli((32, 32), 2, 2, 3),
        lambda: plx.process.SteerablePyramidFreq((32, 32)),
    ],
)
def test_a_jaxlib_whose_transforms_deadlock_is_named(version, monkeypatch, build):
    version(DEADLOCKED)
    with pytest.warns(RuntimeWarning, match=rf"0\.11\.2.*{THREADS}=false"):
        build()
    monkeypatch.setenv("XLA_FLAGS", f"--{THREADS}=false")
    build()


def test_what_is_told_reaches_the_compiler(monkeypatch):
    monkeypatch.setattr(_compiled, "xla_options", lambda *_: (("no_such_option", True),))
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


def test_programs_are_dropped_when_there_are_too_many(monkeypatch):
    plx.clear_caches()
    assert not _compiled._PROGRAMS
    monkeypatch.setattr(_compiled, "_MAX_PROGRAMS", 3)
    image = jnp.ones((1, 4, 4))
    values = []
    for size in range(5):
        value = _compiled.call_compiled(jnp.sum, jnp.ones((1, 4, 4 + size)))
        values.append(float(value))
        assert len(_compiled._PROGRAMS) <= 3
    assert values == [16, 20, 24, 28, 32]
    # What JAX keeps is dropped too, and compiled again.
    (program, *_) = _compiled._PROGRAMS.values()
    assert program._cached._cache_size() > 0
    _compiled._forget_programs()
    assert program._cached._cache_size() == 0
    assert _compiled.call_compiled(jnp.sum, image) == 16
