import io as standard_io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import zipfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plenoptax import io, stop
from plenoptax.solve import batch, Checkpoint, init, lbfgs, Record, run, Solver, Status

from .problems import Counted, Quadratic


def make(getkey, optimizer=None):
    problem = Quadratic(jax.random.uniform(getkey(), (1, 5, 6)), jnp.full((1, 5, 6), 3.0))
    solver = Solver(optimizer or lbfgs(), stop=stop.LossChange() | stop.PixelChange(1e-9))
    return problem, solver, init(problem, solver, key=getkey())


def rewrite(path, change):
    """Change the members of a saved file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def npy(array):
    buffer = standard_io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_states_and_traces_survive_a_file(tmp_path, getkey):
    problem, solver, start = make(getkey)
    state, trace = run(problem, solver, start, 9, record=Record(every=4, best=True))
    io.save(tmp_path / "state.npz", state, trace)
    again = io.load(tmp_path / "state.npz", like=start)
    assert eqx.tree_equal(again, state)
    assert again.status == Status.step_limit
    loaded = io.load_trace(tmp_path / "state.npz")
    for name in ("losses", "penalties", "images", "image_steps", "accepted", "best_image"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(trace, name))
    assert loaded.best_loss == trace.best_loss
    assert loaded.provenance == trace.provenance
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


def test_batches_terms_and_memory_survive_a_file(tmp_path, getkey):
    problems = batch(Counted, jax.random.uniform(getkey(), (3, 2, 2)))
    solver = Solver(optax.adam(0.01), stop=stop.Never())
    start = init(problems, solver, key=getkey())
    state, traces = run(problems, solver, start, 5)
    io.save(tmp_path / "batch.npz", state, traces)
    assert eqx.tree_equal(io.load(tmp_path / "batch.npz", like=start), state)
    loaded = io.load_trace(tmp_path / "batch.npz")
    assert len(loaded) == 3
    for index in range(3):
        np.testing.assert_array_equal(loaded[index].terms["weight"], traces[index].terms["weight"])


def test_files_are_read_without_plenoptax(tmp_path, getkey):
    problem, solver, start = make(getkey)
    io.save(tmp_path / "state.npz", start)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["state.z"], start.z)
        meta = json.loads(str(archive["plenoptax.json"]))
    assert meta["state"][".z"] == "float32[1, 5, 6]"


def test_typed_keys_and_small_floats_survive_a_file(tmp_path, getkey):
    state = init(*make(getkey)[:2], key=getkey())
    state = eqx.tree_at(
        lambda s: s.memory,
        state,
        {"key": jax.random.key(5), "low": jnp.linspace(0, 1, 7, dtype=jnp.bfloat16)},
        is_leaf=lambda x: x is None,
    )
    io.save(tmp_path / "state.npz", state)
    again = io.load(tmp_path / "state.npz", like=state)
    assert jax.random.uniform(again.memory["key"]) == jax.random.uniform(jax.random.key(5))
    assert again.memory["low"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(again.memory["low"], state.memory["low"])


def test_a_missing_renamed_or_damaged_leaf_is_refused_by_name(tmp_path, getkey):
    problem, solver, start = make(getkey)
    path = tmp_path / "state.npz"

    def refuses(change, match):
        io.save(path, start)
        rewrite(path, change)
        with pytest.raises(ValueError, match=match):
            io.load(path, like=start)

    z = "state.z.npy"
    refuses(lambda m: {k: v for k, v in m.items() if k != z}, r"state\.z is missing")
    refuses(lambda m: {("state.y.npy" if k == z else k): v for k, v in m.items()}, r"state\.z")
    refuses(lambda m: m | {z: m[z][:-20]}, r"state\.z")
    refuses(lambda m: m | {z: b"nonsense"}, r"state\.z")
    refuses(lambda m: m | {z: npy(np.asarray([object()]))}, r"state\.z")
    refuses(lambda m: m | {z: npy(np.zeros((2, 2), np.float32))}, r"state\.z")
    refuses(lambda m: {"other.npy": m[z]}, "must be a file that plenoptax saved")


def mutations(content):
    """Another array in place of one of a file: of another shape, of another dtype, or cut off."""
    array = np.load(standard_io.BytesIO(content), allow_pickle=False)
    yield npy(array[None])
    other = {4: np.int32, 8: np.int64}.get(array.dtype.itemsize, np.int16)
    yield npy(np.zeros(array.shape, np.float16 if array.dtype == other else other))
    yield content[:-1]


def test_every_entry_of_a_state_and_its_trace_is_checked(tmp_path, getkey):
    problem, solver, start = make(getkey)
    state, trace = run(problem, solver, start, 3)
    path = tmp_path / "state.npz"
    io.save(path, state, trace)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = [name for name in members if name.startswith(("state", "trace"))]
    assert len(names) > 20
    for name in names:
        changes = [{k: v for k, v in members.items() if k != name}]
        changes += [members | {name: new} for new in mutations(members[name])]
        entry = re.escape(name.removesuffix(".npy"))
        load = io.load_trace if name.startswith("trace") else lambda p: io.load(p, like=state)
        for changed in changes:
            rewrite(path, lambda _, changed=changed: changed)
            with pytest.raises(ValueError, match=entry):
                load(path)


def test_a_flipped_bit_is_noticed(tmp_path, getkey):
    problem, solver, start = make(getkey)
    path = tmp_path / "state.npz"
    io.save(path, start)
    content = bytearray(path.read_bytes())
    position = content.find(np.asarray(start.z).tobytes())
    content[position + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"state\.z"):
        io.load(path, like=start)


def test_files_of_other_things_are_refused(tmp_path, getkey):
    problem, solver, start = make(getkey)
    with pytest.raises(FileNotFoundError):
        io.load(tmp_path / "none.npz", like=start)
    (tmp_path / "text.npz").write_text("a text")
    with pytest.raises(ValueError, match=r"text\.npz"):
        io.load(tmp_path / "text.npz", like=start)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="must be a file that plenoptax saved"):
        io.load(tmp_path / "other.npz", like=start)
    io.save(tmp_path / "state.npz", start)
    with pytest.raises(ValueError, match="must hold a trace"):
        io.load_trace(tmp_path / "state.npz")
    other = init(problem, optax.adam(0.1), key=getkey())
    with pytest.raises(ValueError, match="optimizer_state"):
        io.load(tmp_path / "state.npz", like=other)
    with pytest.raises(FileNotFoundError, match="folder"):
        io.save(tmp_path / "nowhere" / "state.npz", start)


def test_a_failed_save_leaves_the_file_that_was_there(tmp_path, getkey, monkeypatch):
    problem, solver, start = make(getkey)
    path = tmp_path / "state.npz"
    io.save(path, start)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        io.save(path, start)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


def test_checkpoints_hold_the_whole_run(tmp_path, getkey):
    problem, solver, start = make(getkey, optax.adam(0.05))
    path = tmp_path / "run.npz"
    state, trace = run(problem, solver, start, 40, checkpoint=Checkpoint(path, seconds=0))
    assert eqx.tree_equal(io.load(path, like=start), state)
    np.testing.assert_array_equal(io.load_trace(path).losses, trace.losses)
    with pytest.raises(FileNotFoundError, match="folder"):
        run(problem, solver, start, 1, checkpoint=tmp_path / "no" / "run.npz")


SCRIPT = textwrap.dedent(
    """
    import pathlib, sys, time
    import jax, jax.numpy as jnp, numpy as np, optax
    import equinox as eqx
    from plenoptax import io, stop
    from plenoptax.solve import Checkpoint, init, lbfgs, run, Solver
    from tests.solve.problems import Quadratic

    name, path, until = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    keys = jax.random.split(jax.random.key(7), 3)
    shape = (1, 16, 16)
    problem = Quadratic(
        jax.random.uniform(keys[0], shape), 1 + 1000 * jax.random.uniform(keys[1], shape)
    )
    optimizers = {
        "plateau": lambda: optax.chain(optax.amsgrad(0.1), optax.contrib.reduce_on_plateau()),
        "lbfgs": lbfgs,
    }
    solver = Solver(optimizers[name](), stop=stop.Never())
    state, trace = init(problem, solver, key=keys[2]), None
    if path.exists():
        state, trace = io.load(path, like=state), io.load_trace(path)
        print("resumed at", len(trace), flush=True)
    left = until - (0 if trace is None else len(trace))
    state, trace = run(
        problem, solver, state, left, trace=trace, checkpoint=Checkpoint(path, seconds=0)
    )
    """
)


def spawn(tmp_path, name, path, until):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return subprocess.Popen(
        [sys.executable, str(script), name, str(path), str(until)],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", ["plateau", "lbfgs"])
def test_a_killed_run_is_resumed_bit_for_bit_in_a_new_process(name, tmp_path):
    until = 900
    whole, killed = tmp_path / "whole.npz", tmp_path / "killed.npz"
    with spawn(tmp_path, name, whole, until) as process:
        process.communicate(timeout=120)
    with spawn(tmp_path, name, killed, 10**8) as process:
        deadline = time.monotonic() + 60
        while not killed.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL
    steps = len(io.load_trace(killed))
    assert steps < until, "the process was killed too late to tell anything"
    with spawn(tmp_path, name, killed, until) as process:
        assert process.communicate(timeout=120)[0].startswith(f"resumed at {steps}")
    with np.load(whole) as a, np.load(killed) as b:
        assert a.files == b.files
        for leaf in a.files:
            if leaf.startswith("state") or leaf == "trace[0].losses":
                np.testing.assert_array_equal(a[leaf], b[leaf], err_msg=leaf)


def test_a_changed_problem_is_noticed_by_name(tmp_path, getkey):
    problem, solver, start = make(getkey)
    state, trace = run(problem, solver, start, 4)
    path = tmp_path / "state.npz"
    io.save(path, state, trace, problem=problem)
    assert eqx.tree_equal(io.load(path, like=start, problem=problem), state)

    moved = eqx.tree_at(lambda p: p.target, problem, problem.target + 0.25)
    with pytest.raises(ValueError, match=r"\.target differs, by up to 0\.25"):
        io.load(path, like=start, problem=moved)
    loaded = io.load(path, like=start, problem=moved, tensor_equality_atol=1e6)
    assert eqx.tree_equal(loaded, state)
    with pytest.warns(io.LoadWarning) as caught:
        loaded = io.load(path, like=start, problem=moved, raise_on_checks=False)
    assert eqx.tree_equal(loaded, state)
    assert any("its objective at two probe images was" in str(w.message) for w in caught)
    larger = eqx.tree_at(lambda p: p.target, problem, jnp.zeros((1, 5, 6), jnp.float16))
    with pytest.raises(ValueError, match=r"\.target is float32\[1, 5, 6\] in the file"):
        io.load(path, like=start, problem=larger)
    io.save(path, state)
    assert eqx.tree_equal(io.load(path, like=start, problem=moved), state)


def test_a_changed_model_loss_or_penalty_is_noticed(tmp_path, getkey):
    import plenoptax as plx

    image, path = jax.random.uniform(getkey(), (1, 12, 12)), tmp_path / "state.npz"
    problem = plx.Metamer(image, plx.models.Gaussian(5))
    state = init(problem, lbfgs(3), key=getkey())
    io.save(path, state, problem=problem)
    io.load(path, like=state, problem=plx.Metamer(image, plx.models.Gaussian(5)))
    changes = {
        ".target differs": plx.Metamer(image, plx.models.Gaussian(5, std=2.0)),
        "loss_function was mse and is l2_norm": plx.Metamer(
            image, plx.models.Gaussian(5), plx.loss.l2_norm
        ),
        ".penalty_lambda differs": plx.Metamer(image, plx.models.Gaussian(5), penalty_lambda=0.2),
    }
    for message, changed in changes.items():
        with pytest.raises(ValueError, match=message):
            io.load(path, like=state, problem=changed)


def test_problems_of_batches_are_compared(tmp_path, getkey):
    targets = jax.random.uniform(getkey(), (2, 1, 3, 4))
    problem = batch(Counted, targets)
    state = init(problem, lbfgs(3), key=getkey())
    io.save(tmp_path / "state.npz", state, problem=problem)
    io.load(tmp_path / "state.npz", like=state, problem=problem)
    with pytest.raises(ValueError, match=r"\.target differs"):
        io.load(tmp_path / "state.npz", like=state, problem=batch(Counted, targets + 1))


def test_examining_a_file(tmp_path, getkey, capsys):
    problem, solver, start = make(getkey)
    state, trace = run(problem, solver, start, 6, record=2)
    io.save(tmp_path / "state.npz", state, trace, problem=problem)
    io.examine_saved_synthesis(tmp_path / "state.npz")
    printed = capsys.readouterr().out
    rows = dict(re.findall(r"^  (\S+) +(.*)$", printed, re.MULTILINE))
    assert rows["format"] == "4"
    assert rows["problem"] == "Quadratic"
    assert rows["optimizer"].startswith("LBFGS(memory_size=100, ")
    assert rows["state.z"] == "float32[1, 5, 6]"
    assert rows["trace.images"] == "float32[3, 1, 5, 6]"
    first, last = trace.losses[[0, -1]]
    assert rows["[0]"] == f"loss {first:.6g} -> {last:.6g} in 6 steps, 6 evaluations"
    assert rows["jax"] == jax.__version__
    with pytest.raises(FileNotFoundError):
        io.examine_saved_synthesis(tmp_path / "none.npz")
