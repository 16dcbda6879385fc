import dataclasses
import os
import textwrap
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from .._answers import answer, citations
from ..solve import AbstractProblem, Solver, State, Status, Trace
from ._judge import Group, judge, measure_noise, Noise, say_no_null, verdict
from ._null import as_null, Null, null_of_model
from ._pixels import (
    are_the_same_to_the_eye,
    compare_channels,
    describe_distances,
    is_own_target,
    Range,
    range_of,
    rms,
    share_outside,
    violation_of,
)
from ._stages import describe_stages
from ._stopped import doubts_about_start, doubts_about_stop


_ANSWERS = {True: "yes", False: "no", None: "unknown"}
_IS_TARGET = (
    "this image is visually the target, less than half a gray level of 8 bits from it: the model "
    "allows no other metamer, or the synthesis started at the target"
)


@dataclasses.dataclass(frozen=True)
class Report:
    """Summary of one synthesis and a test of whether it succeeded.

    ``print(report)`` shows it as text. A null consists of a model's representations of unrelated
    images, the baseline for similarity (see `plenoptax.null`).

    Attributes:
        success: Whether the image is a metamer by `criterion`; None if unknown.
        criterion: The criterion, in words.
        cautions: Sentences about doubts concerning the synthesis.
        status: How the synthesis ended, in words. A plateau (no further decrease of the loss) is
            not success.
        stages: Which stages are finished, and which never began; empty without stages.
        losses: The first loss and the last.
        terms: The last values of the problem's other scalar terms, such as the ``"optimality"`` of
            a competition.
        gradient_ratio: The norm of the gradient at the last step over that at the first.
        pixel_range: The lowest and the highest allowed pixel value: the range of the penalty, else
            0 and 1. None if the penalty has no range and the target leaves [0, 1].
        range_violation: The largest distance by which the image leaves that range; NaN without a
            range.
        share_outside: The share of the pixels that are outside of it, which a file would clip.
        compared_with: The image for the pixel comparison: ``"target"``, or the ``"reference"``
            image of a competition. None if there is no such image, or the user gave a target
            representation.
        distance: The root mean square difference from that image, in pixel values; NaN without one,
            or if it has another shape.
        channel_correlations: For each pair of 2 to 4 channels, such as ``"0 and 1"``, their
            correlation over the pixels, in the comparison image and in the synthesized image.
        groups: How well each group of the representation was matched, by name.
        classes: The classes that the classifier of the model's network gives the target and the
            image; None without a classifier.
        null: The null that the similarity was compared with.
        noise: For a model with random keys, its error with fresh keys and its noise floor, else
            None.
        num_steps: The number of steps taken.
        provenance: Evaluations, wall time, versions, device, key, the solver, and the parts of the
            problem in words, such as its loss.
        bibtex: The papers to cite, in BibTeX.
    """

    success: bool | None
    criterion: str
    cautions: tuple[str, ...]
    status: str
    stages: str
    losses: tuple[float, float]
    terms: dict[str, float]
    gradient_ratio: float
    pixel_range: Range | None
    range_violation: float
    share_outside: float
    compared_with: str | None
    distance: float
    channel_correlations: dict[str, tuple[float, float]]
    groups: dict[str, Group]
    classes: tuple[int, int] | None
    null: str
    noise: Noise | None
    num_steps: int
    provenance: dict[str, Any]
    bibtex: str

    def __str__(self) -> str:
        rows = {
            "success": f"{_ANSWERS[self.success]}: {self.criterion}",
            "caution": "\n".join(self.cautions),
            "status": self.status,
            "stages": self.stages,
            "loss function": self.provenance["problem"].get("loss_function", ""),
            "loss": f"{self.losses[0]:.6g} -> {self.losses[1]:.6g}",
            **{name: f"{value:.6g}" for name, value in self.terms.items() if name != "stage"},
            "gradient": ""
            if np.isnan(self.gradient_ratio)
            else f"{self.gradient_ratio:.2g} times that at the start",
            "steps": f"{self.num_steps}, {self.provenance['num_evaluations']} evaluations of the "
            f"objective, {self.provenance['wall_time']:.1f} s",
            "range": self._describe_range(),
            **self._describe_distance(),
            **describe_origin(self.provenance),
            "class": self._describe_classes(),
            "null": "" if self.null == "none" else self.null,
            "noise": self._describe_noise(),
        }
        lines = set_rows({name: row for name, row in rows.items() if row})
        if self.channel_correlations:
            lines += ["", *_table_of_channels(self.channel_correlations, self.compared_with)]
        if self.groups:
            lines += ["", *_table(self.groups)]
        return "\n".join(lines)

    def _describe_range(self) -> str:
        if self.pixel_range is None:
            return ""
        low, high = self.pixel_range
        if self.range_violation == 0:
            return f"the image stays within [{low:g}, {high:g}]"
        return (
            f"the image leaves [{low:g}, {high:g}] by at most {self.range_violation:.2g}, in "
            f"{self.share_outside:.2%} of the pixels"
        )

    def _describe_classes(self) -> str:
        if self.classes is None:
            return ""
        target, image = self.classes
        kept = f"{image}, that of the target" if image == target else f"{image}, not {target}"
        return f"the network gives the image class {kept}"

    def _describe_noise(self) -> str:
        if self.noise is None:
            return ""
        low, high = self.noise.floor
        return (
            f"relative error {self.noise.error:.3g} with fresh keys, and {low:.3g} to {high:.3g} "
            "between two sets of keys for one image (the noise floor)"
        )

    def _describe_distance(self) -> dict[str, str]:
        if self.compared_with is None:
            return {}
        text = f"not defined: the {self.compared_with} has another shape"
        if not np.isnan(self.distance):
            text = describe_distances([self.distance], self.pixel_range)
        return {f"RMS to {self.compared_with}": text}


@dataclasses.dataclass(frozen=True)
class BatchReport:
    """Reports of a batch, with distances between its images.

    Attributes:
        reports: The report of each element.
        best: The element with the smallest loss, among those in the latest stage if there are
            stages.
        success_rate: The fraction of the elements with known success that succeeded; NaN if none is
            known.
        pixel_distances: The root mean square differences between the images, each pair once.
        are_seeds: Whether all elements share one problem and differ in their initial images.
    """

    reports: tuple[Report, ...]
    best: int
    success_rate: float
    pixel_distances: Float[np.ndarray, " pair"]
    are_seeds: bool

    @property
    def success(self) -> bool | None:
        """Whether all elements succeeded; None if this is unknown for one."""
        answers = [report.success for report in self.reports]
        return None if None in answers else all(answers)

    def __str__(self) -> str:
        losses = [report.losses[1] for report in self.reports]
        answers = [_ANSWERS[report.success] for report in self.reports]
        counts = [f"{answers.count(one)} {one}" for one in _ANSWERS.values() if one in answers]
        rows = {
            "seeds"
            if self.are_seeds
            else "elements": f"{len(losses)}, success: {', '.join(counts)}"
        }
        rows["losses"] = f"{min(losses):.6g} to {max(losses):.6g}; best is element {self.best}"
        first = self.reports[0]
        if self.are_seeds and self.pixel_distances.size:
            distances = self.pixel_distances.tolist()
            rows["RMS between seeds"] = describe_distances(distances, first.pixel_range)
        sentences = {
            "criterion": [report.criterion for report in self.reports],
            "caution": ["\n".join(report.cautions) for report in self.reports],
            "status": [report.status for report in self.reports],
            "stages": [report.stages for report in self.reports],
        }
        rows |= {name: _by_element(texts) for name, texts in sentences.items() if any(texts)}
        rows |= describe_origin(first.provenance)
        return "\n".join([*set_rows(rows), "", *_table_of_elements(self.reports)])


def _by_element(texts: Sequence[str]) -> str:
    """Return each text once, after the elements that it belongs to."""
    if len(set(texts)) == 1:
        return texts[0]
    elements = {text: [str(i) for i, one in enumerate(texts) if one == text] for text in texts}
    return "\n".join(f"[{', '.join(which)}] {text}" for text, which in elements.items() if text)


def _table_of_elements(reports: Sequence[Report]) -> list[str]:
    head = "element  success  first loss   last loss  gradient  steps  out of range  RMS"
    lines = [head if reports[0].compared_with else head.removesuffix("  RMS")]
    for index, one in enumerate(reports):
        first, last = one.losses
        line = (
            f"{index:7d}  {_ANSWERS[one.success]:7}  {first:10.4g}  {last:10.4g}"
            f"  {_number(one.gradient_ratio, 8, '.2g')}  {one.num_steps:5d}"
            f"  {_number(one.range_violation, 12, '.2g')}"
        )
        lines.append(f"{line}  {_number(one.distance, 5)}" if one.compared_with else line)
    return lines


def set_rows(facts: Mapping[str, str]) -> list[str]:
    """Format facts as rows, each after its name, in lines of at most 100 characters."""
    width = max(len(name) for name in facts)
    lines = []
    for name, fact in facts.items():
        for index, sentence in enumerate(fact.split("\n")):
            lines += textwrap.wrap(
                sentence,
                100,
                initial_indent=f"{'' if index else name:{width}}  ",
                subsequent_indent=" " * (width + 2),
                break_on_hyphens=False,
            )
    return lines


def describe_origin(provenance: dict[str, Any]) -> dict[str, str]:
    """Return device, key and versions for `set_rows`; methods without a loop have no driver."""
    driver = f", driver {provenance['driver']}" if "driver" in provenance else ""
    return {
        "device": f"{provenance['device']}{driver}",
        "key": f"{provenance.get('key')}",
        "versions": ", ".join(f"{k} {v}" for k, v in provenance["versions"].items()),
    }


def report_on(
    problem: AbstractProblem,
    solver: Solver | None,
    state: State,
    trace: Trace,
    image: Float[Array, "..."],
    null: Null | Array | str | os.PathLike | None,
) -> Report:
    """Judge one image.

    Args:
        problem: The problem that was minimized. Success is known only with a model and a target.
        solver: The solver, if it is known.
        state: The final state.
        trace: The trace of the synthesis.
        image: The image.
        null: The null, or the images or the folder to measure it with. None takes that of the
            model.

    Raises:
        ValueError: If a null is given, but there is no target.
    """
    compared_with, original = _image_to_compare_with(problem)
    pixel_range = range_of(problem, original)
    distance = float("nan")
    if original is not None and original.shape == image.shape:
        distance = rms(image, original)
    is_target = compared_with == "target" and are_the_same_to_the_eye([distance], pixel_range)
    finite = not bool(state.status == Status.nonfinite) and bool(np.isfinite(image).all())
    success, criterion, groups, used, noise = _judge(problem, image, null)
    classes = _classes_of(problem, image, original if compared_with == "target" else None)
    if success is not False and classes is not None:
        if classes[0] != classes[1]:
            success, criterion = False, "the network gives the image another class than the target"
        elif success:
            criterion += ", and of the class of the target"
    if not finite:
        success, criterion = False, "the objective was not finite"
    elif is_target:
        success, criterion = False, _IS_TARGET
    norms = trace.gradient_norm
    return Report(
        success=success,
        criterion=criterion,
        cautions=(*doubts_about_start(trace), *doubts_about_stop(solver, state, trace)),
        status=Status[state.status],
        stages=describe_stages(problem, state.status, trace),
        losses=(float(trace.losses[0]), float(trace.losses[-1])),
        terms={name: float(term[-1]) for name, term in trace.terms.items() if term.ndim == 1},
        gradient_ratio=float(norms[-1] / norms[0]) if len(norms) and norms[0] > 0 else float("nan"),
        pixel_range=pixel_range,
        range_violation=violation_of(image, pixel_range),
        share_outside=share_outside(image, pixel_range),
        compared_with=compared_with,
        distance=distance,
        channel_correlations=compare_channels(original, image),
        groups=groups,
        classes=classes,
        null="none" if used is None else str(used),
        noise=noise,
        num_steps=len(trace),
        provenance=trace.provenance,
        bibtex=cite(problem),
    )


def cite(problem: AbstractProblem) -> str:
    """Return the papers of a method, its model and its metrics, in BibTeX."""
    return citations(*(answer(part, "citation") for part in (problem, *_measures(problem))))


def report_on_batch(
    reports: Sequence[Report], images: Float[Array, "element ..."], *, are_seeds: bool
) -> BatchReport:
    """Combine the reports of the elements of a batch."""
    distances = [rms(a, b) for a, b in combinations(np.asarray(images), 2)]
    known = [report.success for report in reports if report.success is not None]
    return BatchReport(
        reports=tuple(reports),
        best=min(range(len(reports)), key=lambda i: _rank(reports[i])),
        success_rate=float(np.mean(known)) if known else float("nan"),
        pixel_distances=np.asarray(distances),
        are_seeds=are_seeds,
    )


def _rank(report: Report) -> tuple[float, float]:
    # The losses of different stages cannot be compared: those of the first stages are small.
    return -report.terms.get("stage", 0.0), report.losses[1]


def _image_to_compare_with(problem: AbstractProblem) -> tuple[str | None, Array | None]:
    """Return what the image of a problem is called, and the image."""
    image = getattr(problem, "image", None)
    if image is None:
        return None, None
    model, target = getattr(problem, "model", None), getattr(problem, "target", None)
    if model is None or target is None:
        return "reference", image
    return ("target", image) if is_own_target(model, image, target) else (None, None)


def _judge(
    problem: AbstractProblem,
    image: Float[Array, "..."],
    null: Null | Array | str | os.PathLike | None,
) -> tuple[bool | None, str, dict[str, Group], Null | None, Noise | None]:
    """Return an image's success and criterion, and its groups, null and noise."""
    model, target = getattr(problem, "model", None), getattr(problem, "target", None)
    if model is None or target is None:
        if null is not None:
            raise ValueError(
                "The problem must have a target to be compared with a null, got "
                f"{type(problem).__name__}. Call report() without null."
            )
        return None, "the problem has no target to compare the image with", {}, None, None
    used = null_of_model(model, target) if null is None else as_null(null, model, target)
    _, original = _image_to_compare_with(problem)
    synthesized, target, noise = measure_noise(model, image, original, target)
    groups = judge(model, synthesized, target, used)
    success = verdict(groups, used)
    if noise is not None and not noise.at_floor:
        return False, "with fresh keys the error is above the noise floor", groups, used, noise
    if used is None:
        return None, say_no_null(model, target), groups, used, noise
    return success, _explain(groups, used), groups, used, noise


def _classes_of(
    problem: AbstractProblem, image: Float[Array, "..."], target: Array | None
) -> tuple[int, int] | None:
    """Return the classes of target and image, if the model's network has a classifier."""
    classify = answer(getattr(problem, "model", None), "classify")
    if classify is None or target is None:
        return None
    classes = classify(target), classify(image)
    return None if None in classes else classes


def _explain(groups: dict[str, Group], null: Null) -> str:
    """Return the criterion of a verdict, in words."""
    judged = [name for name, group in groups.items() if group.passes is not None]
    failed = [name for name in judged if not groups[name].passes]
    if not judged:
        return "no group of the representation has enough values to be judged"
    if failed:
        return f"not closer to the target than unrelated images in {', '.join(failed)}"
    passed = "closer to the target than any two unrelated images in every group of statistics"
    if null.is_large_enough:
        return passed
    return (
        f"{passed}, but the null is too small: {null.num_unrelated} unrelated images (give "
        "report(null=...) at least 200)"
    )


def _measures(problem: AbstractProblem) -> list[Any]:
    """Return the model of a problem, or its metrics (for distances of a model, that model)."""
    parts = [
        getattr(problem, name, None) for name in ("model", "optimized_metric", "reference_metric")
    ]
    return [getattr(part, "model", part) for part in parts]


def _table(groups: dict[str, Group]) -> list[str]:
    width = max(len("99.9 % and extreme of the null"), *map(len, groups))
    marks = {True: "", False: "  FAILS", None: "  (not judged)"}
    has_null = any(
        not np.isnan([group.z_error, group.percentile]).all() for group in groups.values()
    )
    first, title = _first_measure(groups)
    head = f"{'group':{width}}   size  rel. error"
    lines = [f"{head}  {title}  Pearson  Spearman  percentile" if has_null else head]
    for name, g in groups.items():
        line = f"{name:{width}}  {g.size:5d}  {g.relative_error:10.3g}"
        if has_null:
            line += (
                f"  {_number(getattr(g, first), 7)}  {_number(g.correlation, 7)}"
                f"  {_number(g.rank_correlation, 8)}  {_number(g.percentile, 10, '.1f')}"
                f"{marks[g.passes]}"
            )
        lines.append(line)
    return lines + (_table_of_null(groups, width) if has_null else [])


def _table_of_null(groups: dict[str, Group], width: int) -> list[str]:
    """Format what unrelated images reach."""
    first, title = _first_measure(groups)
    head = f"{'99.9 % and extreme of the null':{width}}"
    lines = ["", f"{head}          {title}          Pearson         Spearman"]
    for name, g in groups.items():
        measures = first, "correlation", "rank_correlation"
        pairs = [(getattr(g.null_quantiles, x), getattr(g, f"null_{x}")) for x in measures]
        cells = [f"{_number(usual, 8)} {_number(most, 8)}" for usual, most in pairs]
        lines.append(f"{name:{width}}  " + "".join(cells))
    return lines


def _first_measure(groups: dict[str, Group]) -> tuple[str, str]:
    """Return the first of the three measures of the groups, and its title in tables."""
    if any(group.compares_raw for group in groups.values()):
        return "signal_to_noise", "SNR, dB"
    return "z_error", "z error"


def _table_of_channels(
    correlations: dict[str, tuple[float, float]], compared_with: str | None
) -> list[str]:
    head = "correlation of channels"
    columns = f"{compared_with:>9}  {'result':>6}"
    return [f"{head}  {columns}"] + [
        f"{pair:{len(head)}}  {_number(before, 9)}  {_number(after, 6)}"
        for pair, (before, after) in correlations.items()
    ]


def _number(value: float, width: int, form: str = ".3f") -> str:
    return f"{'-':>{width}}" if np.isnan(value) else f"{value:{width}{form}}"
