import functools
import os
import re
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jaxlib
from jax.core import Tracer

from ._tree import is_array


# Numbers in an image. With more, a synthesis of usual length loses more than a hurry saves it.
_LARGEST_IN_A_HURRY = 2**17

Options = tuple[tuple[str, Any], ...]


def compiler_options(size: int, *, is_long: bool = True) -> Options:
    """What XLA should do otherwise than by default, on the CPU; nothing on other devices.

    Up to JAX 0.11.0, half of the compilation time and 400 MB go into the fusion emitters. Without
    them a step of a texture takes a sixth longer, and one of a front end up to half. That is worth
    it for programs that run a few hundred times on small images and take seconds to compile. Who
    sets one of these flags in the environment variable ``XLA_FLAGS`` is left alone.

    Args:
        size: How many numbers the images are that the program works on.
        is_long: Whether the program takes seconds to compile otherwise.
    """
    if jax.default_backend() != "cpu":
        return ()
    wanted: dict[str, Any] = {}
    if fft_deadlocks():
        wanted["xla_cpu_multi_thread_eigen"] = False
    elif _jaxlib_version() < (0, 11, 1) and size <= _LARGEST_IN_A_HURRY and is_long:
        wanted["xla_cpu_use_fusion_emitters"] = False
        if not jax.config.read("jax_disable_most_optimizations"):
            wanted["xla_backend_optimization_level"] = 1
    given = os.environ.get("XLA_FLAGS", "")
    return tuple((name, value) for name, value in wanted.items() if name not in given)


def warn_of_deadlock() -> None:
    """Say that FFTs may never return on the CPU, where that is so and nothing is done about it."""
    flag = "xla_cpu_multi_thread_eigen"
    if (
        fft_deadlocks()
        and jax.default_backend() == "cpu"
        and flag not in os.environ.get("XLA_FLAGS", "")
    ):
        warnings.warn(
            f"FFTs of jaxlib {jaxlib.__version__} can wait for each other forever on the CPU. Take "
            f"another version, or set the environment variable XLA_FLAGS=--{flag}=false.",
            RuntimeWarning,
            stacklevel=3,
        )


def fft_deadlocks() -> bool:
    """Whether this jaxlib lets FFTs take all threads of the CPU and then wait for one."""
    return (0, 11, 1) <= _jaxlib_version() < (0, 12)


def _jaxlib_version() -> tuple[int, ...]:
    return _parse(jaxlib.__version__)


@functools.cache
def _parse(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def compiled(size: Callable[..., int]) -> Callable[[Callable], Callable]:
    """Compile a function as `equinox.filter_jit` does, by `compiler_options`.

    Args:
        size: From the positional arguments of the function to how many numbers its images are.
    """

    def decorate(function: Callable) -> Callable:
        @functools.cache
        def compile_with(options: Options) -> Callable:
            told: dict[str, Any] = {"compiler_options": dict(options)} if options else {}
            return eqx.filter_jit(function, **told)

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            options = options_here((arguments, named), size(*arguments))
            return compile_with(options)(*arguments, **named)

        return call

    return decorate


def options_here(arguments: Any, size: int) -> Options:
    """The `compiler_options` of a call; none within another program, where they are that one's.

    Args:
        arguments: All arguments of the call.
        size: How many numbers its images are.
    """
    # Inside of jax.jit constants are traced, too.
    leaves = [_constant(), *jax.tree.leaves(arguments)]
    is_traced = any(isinstance(leaf, Tracer) for leaf in leaves)
    return () if is_traced else compiler_options(size)


# Compiled, because that takes a fifth of the time that it takes to make an array.
_constant = jax.jit(lambda: 0)


def _largest(function: Callable, *arguments: Any) -> int:
    return max((leaf.size for leaf in jax.tree.leaves(arguments) if is_array(leaf)), default=0)


@compiled(_largest)
def call_compiled(function: Callable, *arguments: Any) -> Any:
    """Call a function of arrays, by one compiled program for all who call it with their like."""
    return function(*arguments)
