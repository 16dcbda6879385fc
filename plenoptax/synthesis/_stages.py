from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ..solve import AbstractProblem, Stage, Status, Trace


CoarseToFine = Literal["together", "separate"]


def plan_stages(
    labels: tuple, coarse_to_fine: CoarseToFine
) -> tuple[tuple[tuple, ...], tuple[str, ...]]:
    """The scales that count in each stage, and the stages' names."""
    if coarse_to_fine == "together":
        # With the finest scale there are all of them already.
        stages = [labels[: end + 1] for end in range(len(labels) - 1)]
    else:
        stages = [(label,) for label in labels]
    names = [str(stage[-1]) for stage in stages]
    return (*stages, labels), (*names, "all")


def as_stage_limit(max_steps: int | None, shortest: int) -> Int[Array, ""] | None:
    """The limit of a stage as an array, so that another one recompiles nothing; None for no limit.

    Args:
        max_steps: What the user gave.
        shortest: The steps before which no criterion ends a stage.
    """
    if max_steps is None:
        return None
    if max_steps < shortest:
        raise ValueError(
            f"max_stage_steps={max_steps} ends a stage before ctf_iters_to_check={shortest} steps "
            "are there to be checked: raise the one (None is no limit), or lower the other."
        )
    return jnp.asarray(max_steps, jnp.int32)


def describe_stages(problem: AbstractProblem, status: Status, trace: Trace) -> str:
    """Which stages of a problem are finished, under way, passed over, and never begun.

    Args:
        problem: What was minimized.
        status: How it ended.
        trace: How it got there, or the end of that.

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
        kind = ("finished" if begun else "passed over") if is_over else "under way"
        kind = kind if is_over or begun else "never begun"
        steps = f" ({counts[index]} steps)" if counts[index] else ""
        parts.setdefault(kind, []).append(name + steps)
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in parts.items())
