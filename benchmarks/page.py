"""The tables of what was measured, and the reasons not to publish them."""

import contextlib
import datetime
import importlib.metadata
import os
import pathlib
import platform
from typing import NamedTuple

import numpy as np

from benchmarks import load


class Row(NamedTuple):
    """What one part of the page measures.

    Attributes:
        title: Its heading.
        module: The file with the measurement.
        function: The function in it, of `Turns` and of whether it should be quick.
        num_pairs: How often both libraries take their turns.
        about: What a reader must know.
    """

    title: str
    module: str
    function: str
    num_pairs: int
    about: str


PACKAGES = ("plenoptax", "plenoptic", "jax", "jaxlib", "torch", "numpy")
# Of these, more is better.
RATES = ("images a second",)
COMPARED = ("ms", "ms a megapixel", "s", "MiB", *RATES)
QUARTILES_FROM = 7


def describe_machine():
    """Return processor, cores, memory and versions, and nothing that names the machine."""
    processor = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
        models = [value.strip() for name, _, value in lines if name.strip() == "model name"]
        processor = models[0] if models else processor
    found = {"processor": processor, "cores": os.cpu_count(), "system": platform.system()}
    if "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory"] = f"{memory / 2**30:.0f} GiB"
    versions = {"Python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return found | {"versions": versions}


def find_reasons(results, rows, *, allow_unknown=False):
    """Return why the page must not be written, as sentences."""
    if results["quick"]:
        return ["The results are of a quick run, which is too small for the page."]
    reasons = []
    for name, row in rows.items():
        pairs = results["rows"].get(name, {}).get("pairs", {})
        if len(pairs) < row.num_pairs:
            reasons.append(f"{name} has {len(pairs)} of {row.num_pairs} pairs.")
        loads = [pair[when] for pair in pairs.values() for when in ("before", "during")]
        if None in loads and not allow_unknown:
            reasons.append(
                f"The load by other programs beside {name} is unknown on this system "
                "(give --allow-unknown-load to write the page and say so)."
            )
        largest = max((one for one in loads if one is not None), default=0)
        if largest > load.LIMIT:
            reasons.append(
                f"Other programs used {largest:.2f} cores beside {name}, more than {load.LIMIT:g}."
            )
    return reasons


def is_disturbed(pair):
    """Whether other programs used too much beside a pair; not if that is unknown."""
    return max(pair["before"] or 0, pair["during"] or 0) > load.LIMIT


def tabulate(row):
    """Return the lines of the table of one row.

    Args:
        row: Its pairs and facts, as `Turns` has them.
    """
    pairs = [row["pairs"][number] for number in sorted(row["pairs"], key=int)]
    first = pairs[0]["numbers"]
    variants = list(dict.fromkeys(name for case in first.values() for name in case))
    ours, theirs = (
        [name for name in variants if name.split(",")[0] == library]
        for library in ("plenoptax", "plenoptic")
    )
    factors = [f"factor, {name}" if len(ours) > 1 else "factor" for name in ours if theirs]
    lines = _line("", *variants, *factors)
    lines += "|---" * (1 + len(variants) + len(factors)) + "|\n"
    for case in first:
        for quantity in dict.fromkeys(q for numbers in first[case].values() for q in numbers):
            values = {
                name: np.array([pair["numbers"][case][name][quantity] for pair in pairs])
                for name in variants
            }
            cells = [summarize(one) for one in values.values()]
            if theirs:
                cells += [_compare(values, name, theirs, quantity) for name in ours]
            lines += _line(f"{case}, {quantity}", *cells)
    return lines


def summarize(values):
    """Median and quartiles in brackets, or the range in parentheses if there are few."""
    if len(values) < QUARTILES_FROM:
        return f"{np.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"
    low, half, high = np.percentile(values, [25, 50, 75])
    return f"{half:.3g} [{low:.3g}, {high:.3g}]"


def _compare(values, name, theirs, quantity):
    if quantity not in COMPARED:
        return ""
    is_rate = quantity in RATES
    best = (max if is_rate else min)(theirs, key=lambda other: np.median(values[other]))
    ratio = values[best] / values[name]
    return summarize(1 / ratio if is_rate else ratio)


def _line(*cells):
    return "| " + " | ".join(cells) + " |\n"


def _describe_loads(pairs):
    """Say what other programs used beside each pair."""
    ordered = [pairs[number] for number in sorted(pairs, key=int)]
    is_partial = any(pair["source"] == "control group" for pair in ordered)
    before, during = (
        " ".join("unknown" if pair[when] is None else f"{pair[when]:.2f}" for pair in ordered)
        for when in ("before", "during")
    )
    text = f"Cores used by other programs before each pair: {before}; during it: {during}"
    return text + (" (of the control group only)." if is_partial else ".")


def write_row(row, result, is_quick=False):
    """Return the section of one row."""
    facts = ", ".join(
        f"{what} {difference:.0e} (allowed {tolerance:g})"
        for what, (difference, tolerance) in result["facts"].items()
    )
    count = len(result["pairs"])
    pairs = "One pair" if count == 1 else f"{count} pairs"
    spread = "quartiles" if count >= QUARTILES_FROM else "range"
    note = "Sizes and steps are less than this says, because the run is quick. " if is_quick else ""
    return (
        f"## {row.title}\n\n{row.about} {note}{pairs}, median and {spread}.\n\n"
        f"{tabulate(result)}\n"
        + (f"Relative differences of results: {facts}.\n\n" if facts else "")
        + f"{_describe_loads(result['pairs'])}\n"
    )


def write_page(results, rows):
    """Return the text of the page."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    memory = f", {machine['memory']} of memory" if "memory" in machine else ""
    dates = sorted(row["date"] for row in results["rows"].values())
    dates = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    head = (
        "# plenoptax beside plenoptic\n\n"
        "Written by `python -m benchmarks --write`; do not edit.\n\n"
        f"{dates}. {machine['processor']}, {machine['cores']} cores{memory}, "
        f"{machine['system']}. {versions}. On the CPU, in float32.\n\n"
        "Both libraries take their turns on the same inputs, and their results are compared first. "
        "Which is first changes from pair to pair. A factor is plenoptic's number over that of "
        "plenoptax in the same pair (of rates, the inverse), so above 1 plenoptax is better; of "
        "several numbers of threads, the best for plenoptic counts. Before each pair and during "
        "it, the processor time of other programs was measured. None is in this page that used "
        f"more than {load.LIMIT:g} cores.\n"
    )
    sections = [write_row(row, results["rows"][name]) for name, row in rows.items()]
    return "\n".join([head, *sections])


def today():
    return datetime.date.today().isoformat()
