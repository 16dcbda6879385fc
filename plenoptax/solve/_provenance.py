import dataclasses
import hashlib
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax
import numpy as np

from .._tree import describe
from .._types import Key, PyTree
from .._words import in_words
from ._loop import AbstractSolver
from ._optimizer import OptaxOptimizer
from ._problem import AbstractElements


def describe_run(
    problem: AbstractElements, solver: AbstractSolver, driver: str, started: float
) -> dict[str, Any]:
    """How a run came about, in plain values that fit into JSON.

    Args:
        problem: What was minimized.
        solver: The optimizer and the stop rule.
        driver: The driver that was used; resuming bit for bit takes the same one.
        started: `time.perf_counter` at the start.
    """
    return {
        "problem": describe_problem(problem),
        **describe_solver(solver),
        "driver": driver,
        **describe_machine(started),
    }


def describe_solver(solver: AbstractSolver) -> dict[str, str]:
    """The optimizer and the stop rule in words."""
    optimizer = solver.optimizer
    if isinstance(optimizer, OptaxOptimizer):
        optimizer = optimizer.transformation
    return {"optimizer": in_words(optimizer), "stop": in_words(solver.stop)}


def describe_problem(problem: AbstractElements) -> dict[str, str]:
    """The parts of a problem by name, in words; its class is ``"problem"``."""
    inner = problem.posed
    names = [field.name for field in dataclasses.fields(inner)]
    return {"problem": type(inner).__name__, **{n: in_words(getattr(inner, n)) for n in names}}


def describe_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method: plain values as they are, everything else in words."""

    def write(option: Any) -> Any:
        is_plain = option is None or isinstance(option, int | float | str)
        return option if is_plain else in_words(option)

    return {name: write(option) for name, option in options.items()}


def describe_machine(started: float) -> dict[str, Any]:
    """Versions, the device, and the seconds since `started`, a `time.perf_counter`."""
    versions = {name: metadata.version(name) for name in ("plenoptax", "jax", "optax", "equinox")}
    return {
        "versions": versions,
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "wall_time": time.perf_counter() - started,
    }


def describe_key(key: Key | None) -> list | None:
    """The data of a key, for JSON."""
    return None if key is None else np.asarray(jax.random.key_data(key)).tolist()


def digest(arrays: PyTree) -> str | None:
    """What tells arrays from others: a digest of their dtypes, shapes and contents.

    Args:
        arrays: An array or a tree of arrays; None has none.
    """
    if arrays is None:
        return None
    found = hashlib.sha256()
    for leaf in map(np.asarray, jax.tree.leaves(arrays)):
        found.update(describe(leaf).encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return f"sha256:{found.hexdigest()[:32]}"
