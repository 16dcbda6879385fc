import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from .._compiled import call_compiled
from .._tree import name_of
from ..solve import AbstractProblem, Status, Trace
from ._citations import citations
from ._judge import Group, judge, null_of, verdict
from ._stages import describe_stages


@dataclasses.dataclass(frozen=True)
class Report:
    """What a person asks of one synthesis before showing its image to anybody.

    ``print(report)`` sets it as text.

    Attributes:
        success: Whether the image is a metamer by `criterion`; None if nothing can be said.
        criterion: The criterion, in words.
        status: How the synthesis ended, in words. A plateau is not success.
        stages: Which stages are finished, and which were never begun; empty where there are none.
        losses: The first loss and the last.
        terms: The last values of what else the problem reports in single numbers, such as the
            ``"optimality"`` of a competition.
        gradient_ratio: The norm of the gradient at the last step over that at the first.
        range_violation: By how much the image leaves [0, 1] at most.
        groups: How well each group of the representation was matched, by name.
        null: What the likeness was compared with.
        num_steps: Steps taken.
        provenance: Evaluations, wall time, versions, device, key, and the solver.
        bibtex: What to cite.
    """

    success: bool | None
    criterion: str
    status: str
    stages: str
    losses: tuple[float, float]
    terms: dict[str, float]
    gradient_ratio: float
    range_violation: float
    groups: dict[str, Group]
    null: str
    num_steps: int
    provenance: dict[str, Any]
    bibtex: str

    def __str__(self) -> str:
        facts = self.provenance
        answer = {True: "yes", False: "no", None: "unknown"}[self.success]
        rows = {
            "success": f"{answer}: {self.criterion}",
            "status": self.status,
            **({"stages": self.stages} if self.stages else {}),
            "loss": f"{self.losses[0]:.6g} -> {self.losses[1]:.6g}",
            **{name: f"{value:.6g}" for name, value in self.terms.items() if name != "scale"},
            "gradient": f"{self.gradient_ratio:.2g} of that at the start",
            "steps": f"{self.num_steps}, {facts['num_evaluations']} evaluations of the objective, "
            f"{facts['wall_time']:.1f} s",
            "range": f"the image leaves [0, 1] by at most {self.range_violation:.2g}",
            "device": f"{facts['device']}, driver {facts['driver']}",
            "key": f"{facts.get('key')}",
            "versions": ", ".join(f"{k} {v}" for k, v in facts["versions"].items()),
        }
        if self.groups:
            rows["null"] = self.null
        lines = set_rows(rows)
        if self.groups:
            lines += ["", *_table(self.groups)]
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class BatchReport:
    """The reports of a batch, and what its elements are to each other.

    Attributes:
        reports: One for each element.
        best: The element of the smallest loss, among those in the latest stage if there are stages.
        success_rate: The part of the elements that succeeded; NaN if nothing is known.
        pixel_distances: The root mean square differences between the images, each pair once.
    """

    reports: tuple[Report, ...]
    best: int
    success_rate: float
    pixel_distances: Float[np.ndarray, " pair"]

    def __str__(self) -> str:
        losses = [report.losses[1] for report in self.reports]
        if np.isnan(self.success_rate):
            rows = {"elements": f"{len(losses)}, success unknown"}
        else:
            rows = {"restarts": f"{len(losses)}, of which succeeded: {self.success_rate:.0%}"}
        rows["losses"] = f"{min(losses):.6g} to {max(losses):.6g}; best is element {self.best}"
        if self.pixel_distances.size:
            low, high = self.pixel_distances.min(), self.pixel_distances.max()
            rows["apart by"] = f"{low:.3g} to {high:.3g} in pixel values (RMS)"
        texts = [f"[{i}]\n{report}" for i, report in enumerate(self.reports)]
        return "\n\n".join(["\n".join(set_rows(rows)), *texts])


def set_rows(facts: Mapping[str, str]) -> list[str]:
    """Facts under each other, each after its name."""
    width = max(len(name) for name in facts)
    return [f"{name:{width}}  {fact}" for name, fact in facts.items()]


def report_on(
    problem: AbstractProblem,
    status: Status,
    trace: Trace,
    image: Float[Array, "..."],
    null_images: Float[Array, "null ..."] | None,
) -> Report:
    """Judge one image.

    Args:
        problem: What was minimized. Success is told for problems with a model and a target.
        status: How it ended.
        trace: How it got there.
        image: The image.
        null_images: Unrelated images, to compare its likeness with the target with.

    Raises:
        ValueError: If there are null images, but no target.
    """
    groups, null, success = {}, None, None
    model = getattr(problem, "model", None)
    target = getattr(problem, "target", None)
    has_target = target is not None
    if null_images is not None and not has_target:
        raise ValueError(
            f"{type(problem).__name__} has no target that null_images could be compared with; "
            "call report() without them."
        )
    if model is not None and target is not None:
        null = null_of(model, null_images)
        groups = judge(model, call_compiled(model, image), target, null)
        success = verdict(groups)
    finite = bool(np.isfinite(np.asarray(image)).all())
    success = False if bool(status == Status.nonfinite) or not finite else success
    norms = trace.gradient_norm
    return Report(
        success=success,
        criterion=_criterion(groups, success, has_target),
        status=Status[status],
        stages=describe_stages(problem, status, trace),
        losses=(float(trace.losses[0]), float(trace.losses[-1])),
        terms={name: float(term[-1]) for name, term in trace.terms.items() if term.ndim == 1},
        gradient_ratio=float(norms[-1] / norms[0]) if len(norms) and norms[0] > 0 else float("nan"),
        range_violation=max(0.0, float(-np.min(image)), float(np.max(image) - 1)),
        groups=groups,
        null="none" if null is None else null.name,
        num_steps=len(trace),
        provenance=trace.provenance,
        bibtex=citations(type(problem).__name__, *map(name_of, _measures(problem))),
    )


def report_on_batch(reports: list[Report], images: Float[Array, "element ..."]) -> BatchReport:
    """Put the reports of the elements of a batch together."""
    rows = np.asarray(images, np.float64).reshape(len(reports), -1)
    pairs = zip(*np.triu_indices(len(rows), 1), strict=True)
    distances = [np.sqrt(np.mean((rows[i] - rows[j]) ** 2)) for i, j in pairs]
    known = [report.success for report in reports if report.success is not None]
    return BatchReport(
        reports=tuple(reports),
        best=min(range(len(reports)), key=lambda i: _rank(reports[i])),
        success_rate=float(np.mean(known)) if known else float("nan"),
        pixel_distances=np.asarray(distances),
    )


def _rank(report: Report) -> tuple[float, float]:
    # The losses of different stages cannot be compared: those of the first ones are small.
    return -report.terms.get("scale", 0.0), report.losses[1]


def _measures(problem: AbstractProblem) -> list[Any]:
    """The model of a problem, or its metrics, of which some are distances of a model."""
    parts = [
        getattr(problem, name, None) for name in ("model", "optimized_metric", "reference_metric")
    ]
    return [getattr(part, "model", part) for part in parts]


def _criterion(groups: dict[str, Group], success: bool | None, has_target: bool) -> str:
    judged = [name for name, group in groups.items() if group.passes is not None]
    if success is False and not judged:
        return "the objective was not finite"
    if not has_target:
        return "there is no target that the image should be like"
    if not judged:
        return "no null of unrelated images to compare with (report(null_images=...))"
    failed = [name for name in judged if not groups[name].passes]
    if failed:
        return f"no more like the target than unrelated images are in {', '.join(failed)}"
    return "more like the target than any two unrelated images in every group of statistics"


def _table(groups: dict[str, Group]) -> list[str]:
    width = max(len(name) for name in groups)
    marks = {True: "", False: "  FAILS", None: "  (not judged)"}
    lines = [
        f"{'group':{width}}  size  rel. error  z error (null)  Pearson (null)  Spearman (null)"
    ]
    for name, g in groups.items():
        lines.append(
            f"{name:{width}}  {g.size:4d}  {g.relative_error:10.3g}  "
            f"{g.z_error:5.3f} ({g.null_z_error:.3f})  "
            f"{g.correlation:6.3f} ({g.null_correlation:.3f})  "
            f"{g.rank_correlation:7.3f} ({g.null_rank_correlation:.3f}){marks[g.passes]}"
        )
    return lines
