from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ..solve import AbstractProblem, Stage, Status, Trace


CoarseToFine = Literal["together", "separate"]


def plan_stages(
    labels: tuple, coarse_to_fine: CoarseToFine
) -> tuple[tuple[tuple, ...], tuple[str, ...]]:
    """Return the scales to match in each stage, and the names of the stages."""
    if coarse_to_fine == "together":
        # With the finest scale, all scales are included; that is the last stage.
        stages = [labels[: end + 1] for end in range(len(labels) - 1)]
    else:
        stages = [(label,) for label in labels]
    names = [str(stage[-1]) for stage in stages]
    return (*stages, labels), (*names, "all")


def as_stage_limit(max_steps: int | None, shortest: int) -> Int[Array, ""] | None:
    """Return the limit of a stage as an array, so that another limit recompiles nothing.

    Args:
        max_steps: The user's limit; None for no limit.
        shortest: The number of steps before which no criterion ends a stage.
    """
    if max_steps is None:
        return None
    if max_steps < shortest:
        raise ValueError(
            f"max_stage_steps must be at least ctf_iters_to_check={shortest}, got {max_steps}, "
            "which ends a stage before its criterion is checked. Increase max_stage_steps (None is "
            "no limit), or decrease ctf_iters_to_check."
        )
    return jnp.asarray(max_steps, jnp.int32)


def describe_stages(problem: AbstractProblem, status: Status, trace: Trace) -> str:
    """Describe which stages of a problem are finished, under way, skipped, and never begun.

    Args:
        problem: The problem that was minimized.
        status: The final status.
        trace: The trace of the synthesis, or the end of it.

    Returns:
        The stages by name, each with its steps in the trace; empty for a problem without stages.
    """
    memory = problem.start()
    if not isinstance(memory, Stage):
        return ""
    stage = np.asarray(trace.terms["stage"])
    first, present = int(stage[0]), int(stage[-1])
    counts = np.bincount(stage[:-1], minlength=len(memory.names))
    parts: dict[str, list[str]] = {}
    for index, name in enumerate(memory.names):
        is_over = index < present or (index == present and bool(status == Status.plateau))
        # A trace may begin in a later stage than the synthesis did.
        begun = counts[index] > 0 or index < first
        kind = ("finished" if begun else "skipped") if is_over else "under way"
        kind = kind if is_over or begun else "never begun"
        steps = f" ({counts[index]} steps)" if counts[index] else ""
        parts.setdefault(kind, []).append(name + steps)
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in parts.items())
