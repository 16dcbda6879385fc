from collections.abc import Iterator

import numpy as np

from .._types import PyTree
from ..solve import Solver, State, Status, Trace
from ..stop import AbstractStop, AnyOf, LossChange, PixelChange


def doubts_about_start(trace: Trace) -> list[str]:
    """Return a sentence about a gradient that was exactly 0 at the initial image."""
    if not len(trace) or trace.gradient_norm[0] != 0 or trace.losses[0] == 0:
        return []
    return [
        "The gradient at the initial image is exactly 0, so the first step could not move it: "
        "every unit of the model may be dead there. Give another initial image, or "
        'plx.models.features.FeatureExtractor(..., relu_gradient="identity").'
    ]


def doubts_about_stop(solver: Solver | None, state: State, trace: Trace) -> list[str]:
    """Return sentences about stop rules that fired with a tolerance that does not suit the run.

    Args:
        solver: The solver, if it is known.
        state: The last state, with the memory of the rules.
        trace: The steps up to that state.
    """
    if solver is None or not bool(state.status == Status.plateau):
        return []
    doubts = []
    for rule, memory in _fired(solver.stop, state.stop_state):
        if not isinstance(rule, LossChange | PixelChange):
            continue
        # In the last of several stages, the rule has started again.
        shown = np.flatnonzero(trace.accepted)[-int(memory.count) :]
        if len(shown) == int(memory.count):
            doubts += _doubts(rule, trace, shown)
    return doubts


def _fired(rule: AbstractStop, memory: PyTree) -> Iterator[tuple[AbstractStop, PyTree]]:
    """Yield the rules that fire, each with its memory."""
    if isinstance(rule, AnyOf):
        for pair in zip(rule.rules, memory, strict=True):
            yield from _fired(*pair)
    elif bool(rule.fires(memory)):
        yield rule, memory


def _doubts(rule: LossChange | PixelChange, trace: Trace, shown: np.ndarray) -> list[str]:
    """Return the doubts about a rule that saw these steps of a trace."""
    tolerance = float(rule.tolerance)
    stopped = f"{type(rule).__name__}({tolerance:.3g}, window={rule.window}) stopped it, but"
    if isinstance(rule, PixelChange):
        if np.max(trace.pixel_change_norm[shown]) >= tolerance:
            return []
        return [
            f"{stopped} no step since the start moved the image by more than its tolerance. The "
            "steps may have been too small for the rule. Give a smaller tolerance, or larger "
            "steps."
        ]
    began = abs(float(trace.losses[shown[0]]))
    if not began < 10 * tolerance:
        return []
    how = "below" if began < tolerance else "less than ten times"
    return [
        f"{stopped} the loss began at {began:.3g}, {how} its tolerance, and may still have been "
        "falling. Give solver=plx.Solver(optimizer, stop=plx.stop.RelativeLossChange()), whose "
        "tolerance is a fraction of the loss."
    ]
