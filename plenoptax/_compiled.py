import functools
import os
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jaxlib
from jax.core import Tracer

from ._tree import is_array


Options = tuple[tuple[str, Any], ...]

# Numbers in an image. With more, a synthesis of usual length loses more than a hurry saves it.
_LARGEST_IN_A_HURRY = 2**17

# Equations of a step that takes seconds to compile: textures have 2000 and more, front ends 600.
_LONG_STEP = 1000


class Plan(NamedTuple):
    """How the steps of a synthesis are taken, and how they are compiled.

    Attributes:
        driver: ``"host"``, a Python loop over the compiled step, or ``"chunk"``, a compiled loop.
        in_turn: Whether a chunk takes one element after another, each alone, or all at once.
        options: What XLA is told.
    """

    driver: str
    in_turn: bool
    options: Options


def plan_steps(
    platform: str,
    version: tuple[int, ...],
    *,
    size: int,
    num_equations: int,
    has_convolutions: bool,
    num_elements: int = 1,
    num_devices: int = 1,
) -> Plan:
    """Choose how to take steps; a pure function, whose choices docs/decisions.md measures.

    On CPU, XLA runs convolutions over several channels inside of compiled loops up to 50 times
    slower than outside (JAX issue 12868), so there the loop is Python's. Where there are none, one
    CPU takes one element of a batch after another, all steps of a chunk at a time: its arrays stay
    in the cache, and an element that has stopped costs nothing.

    Args:
        platform: ``"cpu"``, ``"gpu"``, ``"cuda"``, ``"rocm"`` or ``"tpu"``.
        version: That of jaxlib.
        size: How many numbers one element's image is.
        num_equations: Those of a step, with all functions inside of it.
        has_convolutions: Whether a step convolves over several channels.
        num_elements: How many elements there are.
        num_devices: How many devices they are on.
    """
    is_slow_inside = platform == "cpu" and has_convolutions
    is_alone = num_elements == 1
    return Plan(
        driver="host" if is_slow_inside else "chunk",
        in_turn=is_alone or (platform == "cpu" and num_devices == 1 and not is_slow_inside),
        options=xla_options(platform, version, size, is_long=num_equations > _LONG_STEP),
    )


def xla_options(
    platform: str, version: tuple[int, ...], size: int, *, is_long: bool = True
) -> Options:
    """What XLA should do otherwise than by default, on the CPU; nothing on other devices.

    Half of the compilation time and 400 MB go into the fusion emitters. Without them a step of a
    texture takes a sixth longer, and one of a front end up to half. That is worth it for programs
    that run a few hundred times on small images and take seconds to compile.

    Args:
        platform: See `plan_steps`, as the next.
        version: See there.
        size: How many numbers the images are that the program works on.
        is_long: Whether the program takes seconds to compile otherwise.
    """
    if platform != "cpu":
        return ()
    # Delete this with support for jaxlib 0.11.1 to 0.11.x.
    if fft_deadlocks(version):
        return (("xla_cpu_multi_thread_eigen", False),)
    # Delete this with support for jaxlib 0.11.0, the last that has the option.
    if version < (0, 11, 1) and size <= _LARGEST_IN_A_HURRY and is_long:
        return (("xla_cpu_use_fusion_emitters", False), ("xla_backend_optimization_level", 1))
    return ()


def fft_deadlocks(version: tuple[int, ...]) -> bool:
    """Whether this jaxlib lets FFTs take all threads of the CPU and then wait for one."""
    return (0, 11, 1) <= version < (0, 12)


# Of jaxlib.
VERSION = tuple(int(part) for part in re.findall(r"\d+", jaxlib.__version__)[:3])


def plan_loop(traced: Any, devices: set, size: int, num_elements: int) -> Plan:
    """As `plan_steps`, for a traced step and the devices at hand.

    Args:
        traced: The program of a step.
        devices: Those that its arrays are on.
        size: See `plan_steps`.
        num_elements: See there.
    """
    equations = [*_equations(traced)]
    plan = plan_steps(
        next(iter(devices)).platform,
        VERSION,
        size=size,
        num_equations=len(equations),
        has_convolutions=any(map(_is_multichannel_convolution, equations)),
        num_elements=num_elements,
        num_devices=len(devices),
    )
    return plan._replace(options=_unless_set(plan.options))


def _equations(jaxpr: Any) -> Iterator[Any]:
    """The equations of a traced function and of all functions inside of it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in _programs_in([*equation.params.values()]):
            yield from _equations(inner)


def _programs_in(parameters: list) -> list:
    """The programs among the parameters of an equation, which may be in lists."""
    found = []
    for part in parameters:
        if hasattr(part, "eqns"):
            found.append(part)
        elif isinstance(part, list | tuple):
            found += _programs_in([*part])
    return found


def _is_multichannel_convolution(equation: Any) -> bool:
    if equation.primitive.name != "conv_general_dilated":
        return False
    dimensions = equation.params["dimension_numbers"]
    kernel = equation.invars[1].aval.shape
    return max(kernel[dimensions.rhs_spec[0]], kernel[dimensions.rhs_spec[1]]) > 1


def _unless_set(options: Options) -> Options:
    """The options but for what the environment or JAX's settings say already."""
    if jax.config.read("jax_disable_most_optimizations"):
        options = tuple(option for option in options if "optimization_level" not in option[0])
    given = os.environ.get("XLA_FLAGS", "")
    return tuple(option for option in options if option[0] not in given)


def warn_of_deadlock() -> None:
    """Say that FFTs may never return on the CPU, where that is so and nothing is done about it."""
    flag = "xla_cpu_multi_thread_eigen"
    if (
        fft_deadlocks(VERSION)
        and jax.default_backend() == "cpu"
        and flag not in os.environ.get("XLA_FLAGS", "")
    ):
        warnings.warn(
            f"FFTs of jaxlib {jaxlib.__version__} can wait for each other forever on the CPU. Take "
            f"another version, or set the environment variable XLA_FLAGS=--{flag}=false.",
            RuntimeWarning,
            stacklevel=3,
        )


def compiled(size: Callable[..., int] | None = None) -> Callable[[Callable], Callable]:
    """Compile a function as `equinox.filter_jit` does, by `xla_options`.

    Args:
        size: From the positional arguments of the function to how many numbers its images are; by
            default the size of the largest array.
    """
    measure = size or _largest

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            options = options_here((arguments, named), measure(*arguments))
            return jit(function, options)(*arguments, **named)

        return call

    return decorate


@functools.cache
def jit(function: Callable, options: Options, donate: str = "none") -> Callable:
    """`equinox.filter_jit` of a function that is defined once, with options for XLA."""
    told: dict[str, Any] = {"donate": donate, "compiler_options": dict(options) or None}
    return eqx.filter_jit(function, **told)


def options_here(arguments: Any, size: int) -> Options:
    """The `xla_options` of a call; none within another program, where they are that one's.

    Args:
        arguments: All arguments of the call.
        size: How many numbers its images are.
    """
    # Inside of jax.jit constants are traced, too.
    leaves = [_constant(), *jax.tree.leaves(arguments)]
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return ()
    return _unless_set(xla_options(jax.default_backend(), VERSION, size))


# Compiled, because that takes a fifth of the time that it takes to make an array.
_constant = jax.jit(lambda: 0)


def _largest(*arguments: Any) -> int:
    return max((leaf.size for leaf in jax.tree.leaves(arguments) if is_array(leaf)), default=0)


@compiled()
def call_compiled(function: Callable, *arguments: Any) -> Any:
    """Call a function of arrays, by one compiled program for all who call it with their like."""
    return function(*arguments)
