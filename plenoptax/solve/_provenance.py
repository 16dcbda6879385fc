import time
from importlib import metadata
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .._types import Key
from ._solver import Solver


def describe_run(solver: Solver, driver: str, started: float, evaluations: int) -> dict[str, Any]:
    """How a run came about, in plain values that fit into JSON.

    Args:
        solver: Its configuration is written out.
        driver: The driver that was used; resuming bit for bit takes the same one.
        started: `time.perf_counter` at the start.
        evaluations: Evaluations of the objective in the steps of this run.
    """
    return {
        "solver": eqx.tree_pformat(solver, short_arrays=False, width=100),
        "driver": driver,
        **describe_machine(started),
        "num_evaluations": evaluations,
    }


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
