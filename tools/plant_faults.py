"""Plant faults in a copy of the code, one at a time, and see whether the tests notice them.

    python tools/plant_faults.py                  # the tests of this checkout
    python tools/plant_faults.py --commit 1b687d9 # those of an earlier one
    python tools/plant_faults.py --slow           # with the tests of tests/slow.txt
    python tools/plant_faults.py --check          # only whether each fault can be planted

For each fault the tests of its room run with ``-x -n 2`` until one fails. The table names file and
line of the fault, and whether it was caught.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple


ROOT = pathlib.Path(__file__).parents[1]


class Fault(NamedTuple):
    """A fault: what it is, where, which text it replaces by which, and the tests of that room."""

    what: str
    file: str
    old: str
    new: str
    tests: str


STATISTICS = "models/_portilla_simoncelli_statistics.py"
FAULTS = (
    Fault(
        "conjugate bands",
        STATISTICS,
        "phase = (1, -1j, -1, 1j)[",
        "phase = (1, 1j, -1, -1j)[",
        "tests/models",
    ),
    Fault(
        "lags off by one",
        STATISTICS,
        "np.outer(range(center + 1), np.fft",
        "np.outer(range(1, center + 2), np.fft",
        "tests/models",
    ),
    Fault(
        "missing normalization of the variance",
        STATISTICS,
        "/ (image.size - 1)",
        "/ image.size",
        "tests/models",
    ),
    Fault(
        "sign of the doubled phase",
        STATISTICS,
        "real = bands.real * cosine - bands.imag * sine",
        "real = bands.real * cosine + bands.imag * sine",
        "tests/models",
    ),
    Fault(
        "swapped scale",
        STATISTICS,
        "gain = 4.0**scale *",
        "gain = 4.0 ** (scale + 1) *",
        "tests/models",
    ),
    Fault(
        "float32 masks",
        "process/_steerable_masks.py",
        "return np.sin(np.pi / 2 * depth), np.sin(np.pi / 2 * (1 - depth))",
        "depth = depth.astype(np.float32)\n"
        "    return np.sin(np.pi / 2 * depth), np.sin(np.pi / 2 * (1 - depth))",
        "tests/process",
    ),
    Fault(
        "transposed orientation",
        "process/_steerable_masks.py",
        "np.arctan2(y, x)",
        "np.arctan2(x, y)",
        "tests/process",
    ),
    Fault(
        "half of an analytic band",
        "process/_steerable_masks.py",
        "return 2 * normalizer *",
        "return normalizer *",
        "tests/process",
    ),
    Fault(
        "Nyquist frequency not divided",
        "process/_fourier.py",
        "size - given // 2, axis) / 2",
        "size - given // 2, axis)",
        "tests/process",
    ),
    Fault(
        "swapped constants of SSIM",
        "metric/_ssim.py",
        "0.01**2, 0.03**2",
        "0.03**2, 0.01**2",
        "tests/metric",
    ),
    Fault(
        "pyramid replicated without its gain",
        "metric/_nlpd.py",
        "replicated = 4 * jnp.pad",
        "replicated = jnp.pad",
        "tests/metric",
    ),
    Fault(
        "dropped penalty",
        "synthesis/_problem.py",
        "return loss + weighted.astype(loss.dtype)",
        "return loss + 0 * weighted.astype(loss.dtype)",
        "tests/synthesis",
    ),
    Fault(
        "maximum for minimum",
        "synthesis/_mad.py",
        'jnp.asarray(1 if minmax == "min" else -1',
        'jnp.asarray(-1 if minmax == "min" else 1',
        "tests/synthesis",
    ),
    Fault(
        "multiplier with the wrong sign",
        "synthesis/_mad.py",
        "gradient = ascent - multiplier * normal",
        "gradient = ascent + multiplier * normal",
        "tests/synthesis",
    ),
    Fault(
        "wrong stop index",
        "stop.py",
        "state.newest)\n        return state.more_than_full & (change < self.tolerance.",
        "state.newest)\n        return (state.count >= self.window) & (change < self.tolerance.",
        "tests/test_stop.py",
    ),
    Fault(
        "a loss too many where traces join",
        "solve/_trace.py",
        "np.concatenate([a[:-1], b])",
        "np.concatenate([a, b])",
        "tests/solve",
    ),
    Fault(
        "accepted where the line search rejects",
        "solve/_loop.py",
        "accepted_z=tree_where(accepted, state.z, state.accepted_z)",
        "accepted_z=state.z",
        "tests/solve",
    ),
    Fault(
        "transpose for the map",
        "linalg/_operator.py",
        "return self.T(self(vectors))",
        "return self.T(self.T(vectors))",
        "tests/linalg",
    ),
    Fault(
        "half of the imaginary part",
        "parametrize/_fourier.py",
        "return spectrum.real - spectrum.imag",
        "return spectrum.real + 0.5 * spectrum.imag",
        "tests/test_parametrize.py",
    ),
    Fault(
        "mask inverted",
        "parametrize/_masked.py",
        "return mask * image + (1 - mask) * outside",
        "return (1 - mask) * image + mask * outside",
        "tests/test_parametrize.py",
    ),
)


def plant(fault, copy):
    """Plant a fault in a copy of the code; return its line."""
    path = copy / "plenoptax" / fault.file
    text = path.read_text()
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.file} must have {fault.old!r} once, got {text.count(fault.old)}.")
    path.write_text(text.replace(fault.old, fault.new))
    return text[: text.index(fault.old)].count("\n") + 1


def is_caught(fault, copy, has_slow):
    """Whether the tests of its room notice a fault."""
    # Earlier checkouts mark no test as slow.
    is_divided = (copy / "tests" / "slow.txt").exists() and not has_slow
    marker = "not network and not slow and not long" if is_divided else "not network"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "2", "-m", marker, fault.tests]
    ended = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    has_failed = "\nFAILED " in ended.stdout
    # Status 2 is that of a run that the first failure has ended.
    if ended.returncode not in (0, 1, 2) or has_failed != (ended.returncode > 0):
        raise RuntimeError(ended.stdout[-2000:] + ended.stderr[-2000:])
    return has_failed


def main():
    """Plant the faults and print the table; return how many were missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commit", default="HEAD")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    num_missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "copy"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", copy, options.commit], check=True)
        try:
            for fault in FAULTS:
                started = time.monotonic()
                line = plant(fault, copy)
                caught = options.check or is_caught(fault, copy, options.slow)
                num_missed += not caught
                result = "caught" if caught else "MISSED"
                result = "planted" if options.check else result
                where = f"{fault.file}:{line}"
                seconds = time.monotonic() - started
                print(f"{result}  {fault.what:40} {where:50} {seconds:4.0f} s", flush=True)
                subprocess.run(["git", "checkout", "-q", "."], cwd=copy, check=True)
        finally:
            subprocess.run([*git, "remove", "--force", copy], check=True)
    return num_missed


if __name__ == "__main__":
    sys.exit(main())
