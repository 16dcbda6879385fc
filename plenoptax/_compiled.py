import ctypes
import functools
import gc
import os
import re
import warnings
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jaxlib
from jax.core import Tracer

from ._tree import is_array
from ._types import PyTree


Options = tuple[tuple[str, Any], ...]

# A number of pixel values. Above this size, slower steps cost more than faster compilation saves.
_LARGEST_IN_A_HURRY = 2**17

# A step with more equations takes seconds to compile: textures have at least 2000, front ends 600.
_LONG_STEP = 1000


class Plan(NamedTuple):
    """A plan for taking and compiling the steps of a synthesis.

    Attributes:
        driver: ``"host"``, a Python loop over the compiled step, or ``"chunk"``, a compiled loop.
        in_turn: Whether a chunk processes one element after another, or all elements together.
        options: The compiler options for XLA.
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
) -> Plan:
    """Choose how to take steps; a pure function. docs/decisions.md has the measurements.

    On CPU, XLA runs convolutions over several channels up to 50 times slower inside compiled loops
    than outside (JAX issue 12868), so then the loop is in Python. Without such convolutions, a
    CPU processes the elements of a batch one after another, all steps of a chunk at a time:
    the arrays stay in the cache, and an element that has stopped costs nothing.

    Args:
        platform: The platform: ``"cpu"``, ``"gpu"``, ``"cuda"``, ``"rocm"`` or ``"tpu"``.
        version: The version of jaxlib.
        size: The number of pixel values in the image of one element.
        num_equations: The number of equations of a step, including all inner functions.
        has_convolutions: Whether a step convolves over several channels.
        num_elements: The number of elements on each device.
    """
    is_slow_inside = platform == "cpu" and has_convolutions
    is_alone = num_elements == 1
    return Plan(
        driver="host" if is_slow_inside else "chunk",
        in_turn=is_alone or (platform == "cpu" and not is_slow_inside),
        options=xla_options(platform, version, size, is_long=num_equations > _LONG_STEP),
    )


def xla_options(
    platform: str, version: tuple[int, ...], size: int, *, is_long: bool = True
) -> Options:
    """Return compiler options for the CPU; empty on other devices.

    The fusion emitters take half of the compilation time and 400 MB. Without them, a texture step
    takes a sixth longer, and a front-end step up to half longer. This pays for programs that run a
    few hundred times on small images and take seconds to compile.

    Args:
        platform: The platform, as for `plan_steps`.
        version: The version of jaxlib.
        size: The number of pixel values in the images of the program.
        is_long: Whether the program takes seconds to compile without these options.
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
    """Return whether FFTs of this jaxlib can occupy all CPU threads and then wait for one."""
    return (0, 11, 1) <= version < (0, 12)


# The version of jaxlib.
VERSION = tuple(int(part) for part in re.findall(r"\d+", jaxlib.__version__)[:3])


def plan_loop(traced: Any, devices: set, size: int, num_elements: int) -> Plan:
    """Choose how to take steps, given the jaxpr of a step and the available devices.

    Args:
        traced: The jaxpr of a step.
        devices: The devices that hold its arrays.
        size: The number of pixel values in the image of one element.
        num_elements: The number of elements on each device.
    """
    equations = [*_equations(traced)]
    plan = plan_steps(
        next(iter(devices)).platform,
        VERSION,
        size=size,
        num_equations=len(equations),
        has_convolutions=any(map(_is_multichannel_convolution, equations)),
        num_elements=num_elements,
    )
    return plan._replace(options=_unless_set(plan.options))


def _equations(jaxpr: Any) -> Iterator[Any]:
    """Yield the equations of a jaxpr and of all functions inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in _programs_in([*equation.params.values()]):
            yield from _equations(inner)


def _programs_in(parameters: list) -> list:
    """Return the jaxprs among the parameters of an equation, which may be in lists."""
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
    """Return the options that neither the environment nor JAX's settings already set."""
    if jax.config.read("jax_disable_most_optimizations"):
        options = tuple(option for option in options if "optimization_level" not in option[0])
    given = os.environ.get("XLA_FLAGS", "")
    return tuple(option for option in options if option[0] not in given)


def warn_of_deadlock() -> None:
    """Warn if this jaxlib's CPU FFTs can deadlock and no workaround is active."""
    flag = "xla_cpu_multi_thread_eigen"
    if (
        fft_deadlocks(VERSION)
        and jax.default_backend() == "cpu"
        and flag not in os.environ.get("XLA_FLAGS", "")
    ):
        warnings.warn(
            f"FFTs of jaxlib {jaxlib.__version__} can wait for each other forever on the CPU. Use "
            f"another version, or set the environment variable XLA_FLAGS=--{flag}=false.",
            RuntimeWarning,
            stacklevel=3,
        )


def compiled(size: Callable[..., int] | None = None) -> Callable[[Callable], Callable]:
    """Compile a function as `equinox.filter_jit` does, with `xla_options`.

    Args:
        size: A function that returns the image size, given the positional arguments; by default the
            size of the largest array.
    """
    measure = size or _largest

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            options = options_here((arguments, named), measure(*arguments))
            return jit(function, options, (arguments, named))(*arguments, **named)

        return call

    return decorate


def jit(function: Callable, options: Options, arguments: PyTree, donate: str = "none") -> Callable:
    """Apply `equinox.filter_jit` to a function that is defined once, with options for XLA.

    Args:
        function: The function.
        options: The options for XLA.
        arguments: Arguments like those of the calls, for which one program is kept.
        donate: The arguments to donate, as for `equinox.filter_jit`.
    """
    leaves, structure = jax.tree.flatten(arguments)
    kinds = tuple((x.shape, x.dtype) if is_array(x) else x for x in leaves)
    key = (function, options, donate, structure, kinds)
    if key not in _PROGRAMS:
        if len(_PROGRAMS) >= _MAX_PROGRAMS:
            _forget_programs()
        told: dict[str, Any] = {"donate": donate, "compiler_options": dict(options) or None}
        _PROGRAMS[key] = eqx.filter_jit(function, **told)
    return _PROGRAMS[key]


_PROGRAMS: dict[Hashable, Any] = {}

# A metamer takes 6 programs and 14 MB, which each model of another shape would keep for the rest of
# the process. All are dropped together: dropping one makes JAX compile some of the others again.
_MAX_PROGRAMS = 140


def _forget_programs() -> None:
    for program in _PROGRAMS.values():
        # JAX keeps a compiled program even if nothing refers to its function any more.
        program._cached.clear_cache()
    _PROGRAMS.clear()


def clear_caches() -> None:
    """Free the memory of all compiled programs, those of JAX included.

    plenoptax drops its own programs whenever there are more than 140, so a process that synthesizes
    with many models of different shapes stays within some hundred MB. Programs that are needed
    again are compiled again.

    Example:
        >>> import plenoptax as plx
        >>> plx.clear_caches()
    """
    _PROGRAMS.clear()
    jax.clear_caches()
    gc.collect()
    # The C library keeps freed memory for later, which here is most of it.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def options_here(arguments: Any, size: int) -> Options:
    """Return the `xla_options` of a call; none inside another program, which has its own.

    Args:
        arguments: All arguments of the call.
        size: The number of pixel values in its images.
    """
    # Inside jax.jit, JAX traces constants, too.
    leaves = [_constant(), *jax.tree.leaves(arguments)]
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return ()
    return _unless_set(xla_options(jax.default_backend(), VERSION, size))


# Compiled, because this takes a fifth of the time of creating an array.
_constant = jax.jit(lambda: 0)


def _largest(*arguments: Any) -> int:
    return max((leaf.size for leaf in jax.tree.leaves(arguments) if is_array(leaf)), default=0)


@compiled()
def call_compiled(function: Callable, *arguments: Any, **named: Any) -> Any:
    """Call a function of arrays through a shared compilation cache."""
    return function(*arguments, **named)
