import time
from importlib import metadata
from typing import Any

import equinox as eqx
import jax

from ._solver import Solver


def describe_run(solver: Solver, driver: str, started: float, evaluations: int) -> dict[str, Any]:
    """How a run came about, in plain values that fit into JSON.

    Args:
        solver: Its configuration is written out.
        driver: The driver that was used; resuming bit for bit takes the same one.
        started: `time.perf_counter` at the start.
        evaluations: Evaluations of the objective in the steps of this run.
    """
    versions = {name: metadata.version(name) for name in ("plenoptax", "jax", "optax", "equinox")}
    return {
        "solver": eqx.tree_pformat(solver, short_arrays=False, width=100),
        "driver": driver,
        "versions": versions,
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "wall_time": time.perf_counter() - started,
        "num_evaluations": evaluations,
    }
