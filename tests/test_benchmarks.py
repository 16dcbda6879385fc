import ast
import importlib
import json
import os
import pathlib
import platform
import runpy
import subprocess
import sys

import imageio.v3 as iio
import numpy as np
import pytest


pytest.importorskip("scipy")

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "tid2013.py"
# Source distributions come without the benchmarks.
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="there is no folder of benchmarks")

SHAPE = (25, 24, 5)
COLOR_TYPES = (2, 18)


def write_bmp(path, gray):
    iio.imwrite(path, np.repeat(np.uint8(gray)[..., None], 3, axis=2))


@pytest.fixture
def folder(tmp_path, rng):
    """Two photographs of TID2013, and scores that fall with the root mean square of a distortion.

    The two distortions of color are none, and people like some of them better than others.
    """
    for part in ("reference_images", "distorted_images"):
        (tmp_path / part).mkdir()
    # Just large enough for the five scales of MS-SSIM.
    checks = 1 - 2 * (np.indices((176, 176)).sum(0) % 2)
    strengths = np.broadcast_to(1 + np.arange(24 * 5).reshape(24, 5), SHAPE).copy()
    scores = 9 - strengths / 20
    for kind in COLOR_TYPES:
        strengths[:, kind - 1] = 0
        scores[:, kind - 1] = [0, 9, 0, 9, 0]
    for i in (1, 2):
        reference = rng.integers(120, 136, (176, 176))
        write_bmp(tmp_path / "reference_images" / f"I{i:02d}.BMP", reference)
        for j, k in np.ndindex(24, 5):
            distorted = reference + strengths[i - 1, j, k] * checks
            write_bmp(
                tmp_path / "distorted_images" / f"i{i:02d}_{j + 1:02d}_{k + 1}.bmp", distorted
            )
    np.savetxt(tmp_path / "mos.txt", scores.ravel(), fmt="%.5f")
    return tmp_path


def run(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--quick", str(folder)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_metrics_are_correlated_with_scores_but_for_distortions_of_color(
    folder, monkeypatch, capsys
):
    run(folder, monkeypatch)
    _, _, *rows = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    table = {name: (float(pearson), float(spearman)) for name, pearson, spearman in cells}
    assert list(table) == ["RMSE", "1 - SSIM", "1 - MS-SSIM", "NLPD", "NLPD, MATLAB"]
    assert table["RMSE"] == (1, 1)
    for _, spearman in table.values():
        assert 0.95 < spearman <= 1


@pytest.mark.parametrize("part", ["mos.txt", "distorted_images/i01_01_5.bmp"])
def test_what_is_missing_is_named(part, folder, monkeypatch):
    (folder / part).unlink()
    with pytest.raises(SystemExit, match=pathlib.Path(part).name):
        run(folder, monkeypatch)


@pytest.fixture
def bench(monkeypatch):
    """Import a file of the folder `benchmarks`."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def start_process(program):
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.mark.skipif(not pathlib.Path("/proc/stat").exists(), reason="there is no /proc")
def test_load_is_of_other_processes_than_a_tree(bench):
    load = bench("load")
    busy = "import time\ninput()\nwhile time.process_time() < 0.3: pass\nprint()\ninput()"
    with start_process("input()") as idle, start_process(busy) as worker:
        readings = [[load.take_reading(pid) for pid in (idle.pid, os.getpid())]]
        worker.stdin.write(b"\n")
        worker.stdin.flush()
        worker.stdout.readline()
        readings.append([load.take_reading(pid) for pid in (idle.pid, os.getpid())])
        for process in (idle, worker):
            process.communicate(b"\n")
    outside, inside = (load.other_load(*pair) for pair in zip(*readings, strict=True))
    elapsed = readings[1][0].moment - readings[0][0].moment
    assert outside.source == inside.source == "machine"
    # What else runs on this machine is in both.
    assert 0.2 < (outside.cores - inside.cores) * elapsed < 0.6


def write_proc(folder, used, clock, processes):
    """Make files like those of Linux, in hundredths of a second."""
    folder.mkdir(exist_ok=True)
    (folder / "stat").write_text(f"cpu {used} 0 0 {clock - used} 0 0 0 0 0 0\ncpu0 0 0\n")
    for pid, (parent, own, waited) in processes.items():
        (folder / str(pid)).mkdir(exist_ok=True)
        fields = ["S", parent, *[0] * 9, own, 0, waited, 0, 20]
        text = " ".join(map(str, [pid, "(a b) c)", *fields]))
        (folder / str(pid) / "stat").write_text(text)


@pytest.fixture
def hundredths(monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 100)


def read_twice(load, tmp_path, first, second, cgroup=(0, 0)):
    """The load of two seconds in which the files changed."""
    readings = []
    for moment, state, usage in zip((0.0, 2.0), (first, second), cgroup, strict=True):
        if state is not None:
            write_proc(tmp_path / "proc", *state)
        if usage:
            (tmp_path / "cpu.stat").write_text(f"usage_usec {usage}\nuser_usec 0\n")
        reading = load.take_reading(10, tmp_path / "proc", tmp_path)
        readings.append(reading._replace(moment=moment))
    return load.other_load(*readings)


def test_load_is_what_is_left_of_all_processor_time(bench, tmp_path, hundredths):
    # A child that has ended is in what its parent waited for; 20 is nobody's child.
    before = 1000, 5000, {10: (1, 50, 0), 11: (10, 20, 0), 12: (11, 0, 0), 20: (1, 500, 0)}
    after = 1240, 5400, {10: (1, 60, 40), 11: (10, 70, 0), 12: (11, 80, 0), 20: (1, 560, 0)}
    found = read_twice(bench("load"), tmp_path, before, after)
    assert found.source == "machine"
    assert found.cores == pytest.approx((2.40 - 0.10 - 0.40 - 0.50 - 0.80) / 2)


def test_load_is_that_of_the_control_group_where_the_machine_is_hidden(bench, tmp_path, hundredths):
    tree = {10: (1, 50, 0)}, {10: (1, 150, 0)}
    frozen = [(0, 0, one) for one in tree]
    found = read_twice(bench("load"), tmp_path, *frozen, cgroup=(10_000_000, 11_500_000))
    assert found.source == "control group"
    assert found.cores == pytest.approx(0.25)


@pytest.mark.parametrize("state", [None, (0, 0, {10: (1, 50, 0)}), (9, 9, {11: (1, 50, 0)})])
def test_load_is_unknown_without_files_that_change(state, bench, tmp_path, hundredths):
    assert read_twice(bench("load"), tmp_path, state, state) == (None, "unknown")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([1.0, 2.2], "length differs by 8.9e-02, more than 1.0e-03"),
        ([1.0, float("nan")], "length differs by nan"),
        ([1.0], "length: one has 1 numbers, the other 2"),
    ],
)
def test_results_that_disagree_are_refused(found, message, bench):
    with pytest.raises(SystemExit, match=message):
        bench("shared").agree("length", found, [1.0, 2.0], 1e-3)
    assert bench("shared").agree("length", [1.0, 2.001], [1.0, 2.0], 1e-3) < 5e-4


def make_pair(before=0.1, during=0.2, ours=(2.0, 5.0), theirs=(8.0, 4.0)):
    both = {"plenoptax": ours, "plenoptic": theirs}
    numbers = {
        "forward": {name: {"ms": ms} for name, (ms, _) in both.items()},
        "batch": {name: {"images a second": rate} for name, (_, rate) in both.items()},
    }
    return {"before": before, "during": during, "source": "machine", "numbers": numbers}


@pytest.fixture
def runner(bench, tmp_path, monkeypatch):
    """The runner with one row, whose page is written elsewhere."""
    runner = bench("__main__")
    row = runner.Row("A row", "of_tests", "take", 2, "About it.")
    monkeypatch.setattr(runner, "ROWS", {"row": row})
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "PAGE", tmp_path / "page.md")
    return runner


def save(runner, tmp_path, *pairs, is_quick=False):
    path = tmp_path / "results.json"
    results = runner.read_results(tmp_path / "none", is_quick)
    rows = {str(number): pair for number, pair in enumerate(pairs)}
    facts = {"forward": [2e-6, 1e-4]}
    results["rows"]["row"] = {"pairs": rows, "facts": facts, "date": "2026-01-02"}
    runner.save_results(path, results)
    return path


@pytest.mark.parametrize(
    ("pairs", "allow_unknown", "message"),
    [
        ([make_pair(), make_pair(before=0.41)], False, "Other programs used 0.41 cores beside row"),
        ([make_pair(during=0.31), make_pair()], True, "more than 0.3"),
        ([make_pair(), make_pair(before=None)], False, "unknown on this system"),
        ([make_pair()], False, "row has 1 of 2 pairs"),
    ],
)
def test_page_is_refused(pairs, allow_unknown, message, runner, tmp_path):
    path = save(runner, tmp_path, *pairs)
    with pytest.raises(SystemExit, match=message):
        runner.write(path, allow_unknown)
    assert not runner.PAGE.exists()


def test_page_of_unknown_load_is_written_on_request(runner, tmp_path):
    pair = make_pair(before=None, during=None) | {"source": "unknown"}
    runner.write(save(runner, tmp_path, pair, pair), True)
    assert "before each pair: unknown unknown" in runner.PAGE.read_text()


def test_page_has_the_numbers_and_does_not_name_the_machine(runner, tmp_path):
    pairs = make_pair(), make_pair(0.3, 0.05, ours=(4.0, 6.0), theirs=(4.0, 3.0))
    runner.write(save(runner, tmp_path, *pairs), False)
    text = runner.PAGE.read_text()
    assert "| forward, ms | 3 (2-4) | 6 (4-8) | 2.5 (1-4) |" in text
    assert "| batch, images a second | 5.5 (5-6) | 3.5 (3-4) | 1.62 (1.25-2) |" in text
    assert "forward 2e-06 (allowed 0.0001)" in text
    assert "before each pair: 0.10 0.30; during it: 0.20 0.05." in text
    assert f"{os.cpu_count()} cores" in text
    assert f"Python {platform.python_version()}" in text
    assert "2026-01-02" in text
    for secret in (platform.node(), str(ROOT), str(tmp_path)):
        assert secret not in text


def test_quartiles_replace_the_range_of_seven_pairs(bench):
    assert bench("page").summarize(np.arange(1.0, 8)) == "4 [2.5, 5.5]"
    assert bench("page").summarize(np.arange(1.0, 7)) == "3.5 (1-6)"


def test_pairs_change_whose_turn_is_first_and_leave_out_those_there_are(bench):
    calls, saved = [], []

    def measure(name, pair):
        calls.append((pair, name))
        return {name: {"ms": 1.0}}

    cases = {"case": [lambda pair: measure("ours", pair), lambda pair: measure("theirs", pair)]}
    turns = bench("shared").Turns(
        3, seconds=0, pairs={0: make_pair()}, save=lambda: saved.append(len(turns.pairs))
    )
    turns.take(cases)
    assert calls == [(1, "theirs"), (1, "ours"), (2, "ours"), (2, "theirs")]
    assert saved == [2, 3]
    assert turns.pairs[2]["numbers"] == {"case": {"ours": {"ms": 1.0}, "theirs": {"ms": 1.0}}}


class Module:
    """A benchmark whose libraries agree, or do not."""

    def __init__(self, found):
        self.found, self.num_pairs = found, 0

    def take(self, turns, is_quick):
        turns.seconds = 0
        turns.agree("response", self.found, [1.0], 1e-3)
        self.num_pairs = turns.count - len(turns.pairs)
        turns.take({"case": [lambda pair: {"plenoptax": {"ms": 1.0}}]})


def test_interrupted_and_disturbed_pairs_are_measured_again(runner, tmp_path, monkeypatch):
    path = save(runner, tmp_path, make_pair(before=0.5), make_pair())
    module = Module([1.0001])
    monkeypatch.setattr(runner.importlib, "import_module", lambda name: module)
    runner.work("row", path, False, os.getpid())
    row = json.loads(path.read_text())["rows"]["row"]
    assert module.num_pairs == 1
    assert row["pairs"]["0"]["numbers"] == {"case": {"plenoptax": {"ms": 1.0}}}
    assert row["pairs"]["1"] == make_pair()
    assert row["facts"]["response"] == pytest.approx([1e-4, 1e-3])


def test_row_whose_libraries_disagree_fails_and_measures_nothing(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(runner.importlib, "import_module", lambda name: Module([1.5]))
    path = tmp_path / "results.json"
    with pytest.raises(SystemExit, match=r"response differs by 5\.0e-01, more than 1\.0e-03"):
        runner.work("row", path, False, os.getpid())
    assert not path.exists()


@pytest.mark.parametrize(("code", "status"), [(0, False), (1, True)])
def test_run_fails_if_a_row_fails(code, status, runner, tmp_path, monkeypatch, capsys):
    path = save(runner, tmp_path, make_pair(before=0.5), make_pair())
    done = subprocess.CompletedProcess([], code)
    monkeypatch.setattr(runner.subprocess, "run", lambda *args, **kwargs: done)
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(runner, "warn_of_load", lambda: 0.0)
    arguments = ["--results", str(path)]
    if status:
        with pytest.raises(SystemExit, match="Failed: row"):
            runner.main(arguments)
    else:
        runner.main(arguments)
        assert "| forward, ms |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "textures", "rows"], "--only must name rows that --list shows, got rows"),
        (["--write", "--quick"], "--write must come without --quick"),
        (["--results", "no/file"], "--results must be a file in a folder that exists, got no/file"),
        (["--loud"], "Unrecognized arguments: --loud"),
    ],
)
def test_bad_arguments_get_one_sentence(arguments, message, bench, capsys):
    with pytest.raises(SystemExit) as raised:
        bench("__main__").main(arguments)
    assert raised.value.code == 2
    found = capsys.readouterr().err
    assert found.startswith(message)
    assert found.count("\n") == 1


def test_load_of_a_control_group_is_said_to_be_partial(runner, tmp_path):
    pair = make_pair() | {"source": "control group"}
    runner.write(save(runner, tmp_path, make_pair(), pair), False)
    assert "during it: 0.20 0.20 (of the control group only)." in runner.PAGE.read_text()


def test_numbers_of_another_machine_are_refused(runner, tmp_path):
    path = save(runner, tmp_path, make_pair())
    results = json.loads(path.read_text())
    results["machine"]["cores"] = 0
    path.write_text(json.dumps(results))
    with pytest.raises(SystemExit, match="another machine"):
        runner.read_results(path, False)
    path.write_text("[1]")
    with pytest.raises(SystemExit, match="must be a file of an earlier run"):
        runner.read_results(path, False)


def test_each_row_has_its_function(bench):
    for row in bench("__main__").ROWS.values():
        tree = ast.parse((ROOT / "benchmarks" / f"{row.module}.py").read_text())
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert row.function in names
