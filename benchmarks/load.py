"""The processor time that other programs take, and the memory of this one."""

import os
import pathlib
import resource
import sys
import time
from typing import NamedTuple


# Cores; above it, times are not those of an idle machine.
LIMIT = 0.3
PROC = pathlib.Path("/proc")
CGROUP = pathlib.Path("/sys/fs/cgroup")


class Load(NamedTuple):
    """How many cores other programs used: None where the system does not say.

    The source is "machine" or "control group": the second does not see programs outside of it.
    """

    cores: float | None
    source: str


class Total(NamedTuple):
    """Seconds of processor time of all programs, and a clock that stands still in sandboxes."""

    used: float
    clock: float


class Reading(NamedTuple):
    """The processor time until a moment: of our processes in seconds, and by source of all."""

    moment: float
    own: float | None
    totals: dict[str, Total]


def take_reading(root: int, proc: pathlib.Path = PROC, cgroup: pathlib.Path = CGROUP) -> Reading:
    """Read the processor time of everything, and of a process with its descendants."""
    totals = {"machine": _read_machine(proc), "control group": _read_cgroup(cgroup)}
    known = {source: total for source, total in totals.items() if total is not None}
    return Reading(time.perf_counter(), _read_tree(root, proc), known)


def other_load(before: Reading, after: Reading) -> Load:
    """Return what was used between two readings and not by our processes."""
    elapsed = after.moment - before.moment
    if before.own is not None and after.own is not None:
        own = after.own - before.own
        for source, total in after.totals.items():
            earlier = before.totals.get(source, total)
            others = total.used - earlier.used - own
            # Sandboxes show files that never change, or in which we used more than everybody.
            if total.clock > earlier.clock and others > -0.1 * elapsed - 0.05:
                return Load(max(others, 0.0) / elapsed, source)
    return Load(None, "unknown")


def peak_memory() -> float:
    """Return the peak of the resident set of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _read_machine(proc):
    """Seconds of all cores except idle ones, with those that other virtual machines took."""
    try:
        fields = (proc / "stat").read_text().splitlines()[0].split()[1:9]
        user, nice, system, idle, wait, interrupt, soft, steal = map(int, fields)
    except (OSError, ValueError, IndexError):
        return None
    used = user + nice + system + interrupt + soft + steal
    ticks = os.sysconf("SC_CLK_TCK")
    return Total(used / ticks, (used + idle + wait) / ticks)


def _read_cgroup(cgroup):
    """Seconds of all processes of the control group that is visible, of either version."""
    try:
        first, *_ = (cgroup / "cpu.stat").read_text().splitlines()
        used = int(first.removeprefix("usage_usec")) / 1e6
    except (OSError, ValueError):
        try:
            used = int((cgroup / "cpuacct" / "cpuacct.usage").read_text()) / 1e9
        except (OSError, ValueError):
            return None
    return Total(used, used)


def _read_tree(root, proc):
    """Seconds of a process and its descendants, with those that have ended and were waited for."""
    parents, seconds = {}, {}
    try:
        pids = [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]
    except OSError:
        return None
    for pid in pids:
        try:
            # The name of the program, in parentheses, may have spaces.
            fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[pid] = int(fields[1])
        seconds[pid] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    if root not in seconds:
        return None
    tree, added = {root}, True
    while added:
        added = {pid for pid, parent in parents.items() if parent in tree} - tree
        tree |= added
    return sum(seconds[pid] for pid in tree)
