"""Run plenoptic and plenoptax in turns, and write a page about it.

    python -m benchmarks                         # all rows, about 25 minutes on two cores
    python -m benchmarks --list                  # their names
    python -m benchmarks --only textures memory  # some of them
    python -m benchmarks --quick                 # small, to see that all of it runs
    python -m benchmarks --write                 # what is missing, and benchmarks/results.md

Each row is measured in a process of its own, and saved after each pair, so that an interrupted run
continues. Before each pair, and during it, the processor time of other programs is measured. The
page is not written if they used more than 0.3 of a core; the next run measures such pairs again.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from benchmarks import load
from benchmarks.page import (
    describe_machine,
    find_reasons,
    is_disturbed,
    Row,
    today,
    write_page,
    write_row,
)
from benchmarks.shared import ROOT, THREADS, Turns


PAGE = ROOT / "benchmarks" / "results.md"
RESULTS = ROOT / "benchmarks" / "results.json"

ROWS = {
    "texture_statistics": Row(
        "Texture statistics",
        "portilla_simoncelli",
        "take_turns",
        7,
        "The model of Portilla and Simoncelli with its defaults, 256 x 256 pixels: its response, "
        "and value and gradient of a loss. Compiled before.",
    ),
    "front_ends": Row(
        "Front ends",
        "front_ends",
        "take_turns",
        7,
        "256 x 256 pixels: the response, value and gradient of its energy, and one product with "
        "the Fisher information. plenoptic keeps its filters between calls. Compiled before.",
    ),
    "steerable_pyramid": Row(
        "Steerable pyramid",
        "steerable_pyramid",
        "take_turns",
        7,
        "256 x 256 pixels, the defaults of the pyramid. Compiled before.",
    ),
    "laplacian_pyramid": Row(
        "Laplacian pyramid",
        "process",
        "take_turns",
        7,
        "256 x 256 pixels, six scales. Compiled before.",
    ),
    "metrics": Row(
        "Metrics",
        "metrics",
        "take_turns",
        7,
        "Value and gradient of two images of 256 x 256 pixels. Compiled before.",
    ),
    "textures": Row(
        "Textures to equal errors by group",
        "texture_metamer",
        "take_turns",
        5,
        "256 x 256 pixels, a seed for each pair. From the start of the process until the relative "
        "error of every group of statistics is at most 5 %, with imports and compilation. "
        "plenoptic runs with the L-BFGS of its documentation and is looked at after each "
        "evaluation, plenoptax by its defaults after every tenth. Its whitening takes 256 "
        "evaluations without a gradient, which are in the time and not in the number.",
    ),
    "metamers": Row(
        "Metamers in equal steps",
        "metamers",
        "take_turns",
        3,
        "256 x 256 pixels, 100 steps of plenoptic's default Adam by both: a Gaussian model, and "
        "texture statistics from coarse to fine. From posing the problem, with compilation.",
    ),
    "mad": Row(
        "Maximum differentiation",
        "mad",
        "take_turns",
        3,
        "SSIM against squared error, 256 x 256 pixels, 100 penalized steps by both. From posing "
        "the problem, with compilation.",
    ),
    "eigendistortions": Row(
        "Eigendistortions",
        "eigendistortions",
        "take_turns",
        3,
        "Three at either end of LuminanceGainControl, 64 x 64 pixels: plenoptic by its power "
        "method, which stops by its own criterion or after 1000 iterations, plenoptax by block "
        "Lanczos. The three largest eigenvalues are compared. The smallest are not, because "
        "plenoptic's are not eigenvalues; both are upper bounds of the smallest.",
    ),
    "import": Row(
        "Import",
        "start",
        "take_imports",
        7,
        "A process that imports the library. Both import their parts on first use, plenoptax with "
        "JAX and plenoptic with torch, so it is measured again with what a metamer needs.",
    ),
    "start": Row(
        "Cold start",
        "start",
        "take_starts",
        5,
        "From the start of the process to the end of the first step of a texture metamer, 256 x "
        "256 pixels. Without programs that were compiled before, and with them.",
    ),
    "memory": Row(
        "Peak memory",
        "start",
        "take_memory",
        3,
        "The peak of the resident set of a process that takes 30 steps of a texture metamer, 256 x "
        "256 pixels.",
    ),
    "size": Row(
        "Growth with size",
        "growth",
        "take_sizes",
        3,
        "Value and gradient of texture statistics of three scales, and the peak of the resident "
        "set with compilation, each in a process of its own. Times are of compiled programs.",
    ),
    "batch": Row(
        "Growth with the batch",
        "growth",
        "take_batches",
        3,
        "Metamers of OnOff, 128 x 128 pixels, 30 steps of Adam, all images at once. plenoptic "
        "minimizes the sum of their losses, so that each has the same problem in both. Compiled "
        "before.",
    ),
    "devices": Row(
        "Growth with devices",
        "growth",
        "take_devices",
        3,
        "The same for 16 images by plenoptax on one host device, and on two. plenoptic has "
        "nothing like it.",
    ),
}


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one sentence."""

    def error(self, message):
        print(f"{message[:1].upper()}{message[1:]}; see --help.", file=sys.stderr)
        raise SystemExit(2)


def parse(arguments):
    parser = Parser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(ROWS), help="these rows")
    parser.add_argument("--quick", action="store_true", help="small sizes, one pair, and no page")
    parser.add_argument("--write", action="store_true", help="write the page at the end")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results of the rows")
    parser.add_argument("--results", type=pathlib.Path, metavar="FILE", help="where numbers are")
    parser.add_argument("--allow-unknown-load", action="store_true")
    parser.add_argument("--worker", choices=list(ROWS), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = [name for name in options.only if name not in ROWS]
    if unknown:
        parser.error(f"--only must name rows that --list shows, got {', '.join(unknown)}")
    if options.quick and options.write:
        parser.error("--write must come without --quick, whose numbers are too small for the page")
    if options.results and (options.results.is_dir() or not options.results.parent.is_dir()):
        parser.error(f"--results must be a file in a folder that exists, got {options.results}")
    return options


def read_results(path, is_quick):
    """Return the numbers of a file, or none yet; refuses those of another machine."""
    machine = describe_machine()
    if not path.exists():
        return {"quick": is_quick, "machine": machine, "rows": {}}
    try:
        results = json.loads(path.read_text())
        found = results["quick"], results["machine"]
    except (ValueError, TypeError, KeyError, OSError):
        raise SystemExit(f"{path} must be a file of an earlier run.") from None
    if found != (is_quick, machine):
        raise SystemExit(
            f"{path} has numbers of another machine, other versions or other sizes; "
            "give another file by --results, or delete it."
        )
    return results


def save_results(path, results):
    """Write all or nothing, so that an interruption loses no pair."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(part, path)


def work(name, path, is_quick, root):
    """Measure one row in this process, and save it after each pair."""
    row, results = ROWS[name], read_results(path, is_quick)
    earlier = results["rows"].get(name, {"pairs": {}, "facts": {}})
    pairs = {int(number): pair for number, pair in earlier["pairs"].items()}

    def save():
        ordered = {number: turns.pairs[number] for number in sorted(turns.pairs)}
        results["rows"][name] = {"pairs": ordered, "facts": turns.facts, "date": today()}
        save_results(path, results)

    turns = Turns(
        1 if is_quick else row.num_pairs,
        seconds=0.5 if is_quick else 2.0,
        root=root,
        pairs={number: pair for number, pair in pairs.items() if not is_disturbed(pair)},
        facts=earlier["facts"],
        save=save,
        # Several threads wait for each other where other programs run.
        threads=(1,) if is_quick else THREADS,
    )
    module = importlib.import_module(f"benchmarks.{row.module}")
    getattr(module, row.function)(turns, is_quick)


def is_complete(name, results):
    pairs = results["rows"].get(name, {}).get("pairs", {})
    is_clean = not any(map(is_disturbed, pairs.values()))
    return len(pairs) >= ROWS[name].num_pairs and is_clean


def run_rows(options, path):
    """Measure what is missing, and return the names of the rows that failed."""
    failed = []
    results = read_results(path, options.quick)
    if options.fresh:
        for name in options.only:
            results["rows"].pop(name, None)
        save_results(path, results)
    for name in options.only:
        if is_complete(name, results):
            print(f"{name}: measured on {results['rows'][name]['date']}\n", flush=True)
            continue
        command = [sys.executable, "-m", "benchmarks", "--worker", name, "--results", str(path)]
        command += ["--root", str(os.getpid())] + ["--quick"] * options.quick
        start = time.perf_counter()
        # plenoptic computes on the CPU unless told otherwise.
        env = {**os.environ, "JAX_PLATFORMS": "cpu"}
        code = subprocess.run(command, cwd=ROOT, env=env).returncode
        if code:
            print(f"{name} failed.\n", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        results = read_results(path, options.quick)
        print(write_row(ROWS[name], results["rows"][name], options.quick))
        print(f"{name} took {time.perf_counter() - start:.0f} s.\n", flush=True)
    return failed


def warn_of_load():
    """Say at once that the page will be refused, and not after half an hour."""
    first = load.take_reading(os.getpid())
    time.sleep(1)
    cores, _ = load.other_load(first, load.take_reading(os.getpid()))
    if cores is None:
        print("This system does not say what other programs use: it is recorded as unknown.\n")
    elif cores > load.LIMIT:
        print(f"Other programs use {cores:.2f} cores; for the page, {load.LIMIT:g} at most.\n")
    return cores


def write(path, allow_unknown):
    """Write the page, or say why not."""
    results = read_results(path, False)
    reasons = find_reasons(results, ROWS, allow_unknown=allow_unknown)
    if reasons:
        raise SystemExit("The page was not written:\n" + "\n".join(reasons))
    PAGE.write_text(write_page(results, ROWS))
    print(f"Wrote {PAGE.relative_to(ROOT)}.")


def main(arguments=None):
    options = parse(arguments)
    if options.list:
        for name, row in ROWS.items():
            print(f"{name:20} {row.title}, {row.num_pairs} pairs")
        return
    missing = [x for x in ("plenoptic", "torch") if importlib.util.find_spec(x) is None]
    if missing:
        raise SystemExit(f"{missing[0]} must be installed; install the extra `parity`.")
    if options.worker:
        with contextlib.suppress(KeyboardInterrupt):
            work(options.worker, options.results, options.quick, options.root)
            return
        raise SystemExit(130)
    with contextlib.ExitStack() as stack:
        path = options.results or RESULTS
        if options.quick:
            print("A quick run, to see that it works: no numbers for the page.\n")
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = options.results or pathlib.Path(folder) / "results.json"
        path = path.resolve()
        if warn_of_load() is None and options.write and not options.allow_unknown_load:
            raise SystemExit("The page needs a known load; give --allow-unknown-load to write it.")
        try:
            failed = run_rows(options, path)
        except KeyboardInterrupt:
            raise SystemExit("Interrupted; the same command continues.") from None
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}.")
    if options.write:
        write(path, options.allow_unknown_load)


if __name__ == "__main__":
    main()
