import errno
import os
import pathlib
import resource
import subprocess
import sys
import textwrap
import threading

import jax
import pytest

import plenoptax as plx
from plenoptax import _writing


ROOT = pathlib.Path(__file__).parents[1]
NAMED = {"key": jax.random.key(0), "progress": False}


def write(path, content=b"new"):
    _writing.write_atomically({path: content})


@pytest.fixture
def umask():
    """A umask other than that of whoever runs the tests."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_a_new_file_has_the_permissions_of_the_umask_and_an_old_one_keeps_its_own(tmp_path, umask):
    write(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    (tmp_path / "a").chmod(0o604)
    write(tmp_path / "a", b"newer")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o604
    assert (tmp_path / "a").read_bytes() == b"newer"


def test_links_stay_and_lead_to_the_new_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("folder/file")
    (tmp_path / "dangling").symlink_to("folder/later")
    write(tmp_path / "link")
    write(tmp_path / "dangling")
    assert os.readlink(tmp_path / "link") == "folder/file"
    assert (tmp_path / "folder" / "file").read_bytes() == b"new"
    assert (tmp_path / "folder" / "later").read_bytes() == b"new"
    assert len(list((tmp_path / "folder").iterdir())) == 2


def test_any_name_that_the_file_system_takes(tmp_path):
    for name in ("a" * 255, "ü" * 127, "a b\n*", ".hidden"):
        write(tmp_path / name)
        _writing.check_writable(tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"new"
    for name in ("a" * 256, "a\0b"):
        for action in (write, _writing.check_writable):
            with pytest.raises(OSError):
                action(tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 4


def test_what_killed_processes_left_behind_is_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    name = _writing._temporary_beside(tmp_path / "a").name
    own = f"-{os.getpid()}-"
    assert own in name
    kept = [name, name.replace(own, "-1-"), f".plenoptax-another_host-{ended.pid}-abc", ".hidden"]
    gone = name.replace(own, f"-{ended.pid}-")
    for one in (*kept, gone):
        (tmp_path / one).write_bytes(b"part")
    write(tmp_path / "a")
    assert {file.name for file in tmp_path.iterdir()} == {"a", *kept}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failing_write_names_the_file_and_changes_nothing(
    tmp_path, monkeypatch, number, function
):
    write(tmp_path / "a", b"old")

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match=r"/a'") as caught:
        _writing.write_atomically({tmp_path / "a": b"new", tmp_path / "b": b"new"})
    assert caught.value.errno == number
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_writers_of_one_file_leave_a_whole_file_at_all_times(tmp_path):
    contents = [bytes([letter]) * 300_000 for letter in b"ab"]
    path, seen = tmp_path / "run.npz", []
    write(path, contents[0])

    def write_often(content):
        for _ in range(40):
            write(path, content)

    writers = [threading.Thread(target=write_often, args=[content]) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen.append(path.read_bytes())
    assert set(seen) <= set(contents)
    assert len(seen) > 10
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]


def begin(checkpoint, **named):
    image = plx.data.brick()[:, :16, :16]
    return plx.metamer(image, plx.models.Gaussian(3), checkpoint=checkpoint, **NAMED, **named)


def test_a_run_survives_a_disk_that_fills_up(tmp_path, monkeypatch):
    wanted = begin(None, max_steps=8)

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    path = tmp_path / "run.npz"
    with (
        pytest.warns(UserWarning, match=r"run continues .* space .*run\.npz") as warned,
        pytest.raises(plx.CheckpointError, match=r"run has finished.*run\.npz") as caught,
    ):
        begin(plx.Checkpoint(path, seconds=0), max_steps=8)
    assert len(warned) == 1
    assert isinstance(caught.value.result, plx.Result)
    assert (caught.value.result.image == wanted.image).all()
    assert (caught.value.result.trace.losses == wanted.trace.losses).all()
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path, monkeypatch):
    calls = []

    def fail(descriptor):
        calls.append(descriptor)
        if len(calls) < 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.warns(UserWarning, match="run continues"):
        result = begin(plx.Checkpoint(tmp_path / "run.npz", seconds=0), max_steps=8)
    assert len(calls) > 2
    saved = plx.io.load_result(tmp_path / "run.npz")
    assert (saved.image == result.image).all()


def test_a_file_that_is_no_checkpoint_is_never_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(plx.Solver, "step", None)
    path = tmp_path / "thesis.txt"
    path.write_text("Chapter 1")
    result = plx.eigendistortions(
        plx.data.brick()[:, :8, :8], plx.models.Gaussian(3), progress=False
    )
    result.save(tmp_path / "found.npz")
    problem = plx.Metamer(plx.data.brick()[:, :16, :16], plx.models.Gaussian(3))
    state = plx.init(problem, plx.lbfgs(2), key=jax.random.key(0))
    for other in (path, tmp_path / "found.npz"):
        before = other.read_bytes()
        with pytest.raises(ValueError, match=f"not overwritten.*{other.name}"):
            plx.run(problem, plx.lbfgs(2), state, 1, checkpoint=other)
        assert other.read_bytes() == before
    with pytest.raises(IsADirectoryError):
        plx.run(problem, plx.lbfgs(2), state, 1, checkpoint=tmp_path)
    with pytest.raises(FileNotFoundError, match="folder"):
        plx.run(problem, plx.lbfgs(2), state, 1, checkpoint=tmp_path / "none" / "run.npz")


LIMITED = textwrap.dedent(
    """
    import resource, signal, sys, warnings
    import jax, plenoptax as plx
    image, model = plx.data.brick()[:, :64, :64], plx.models.Gaussian(3)
    # Files of more than 4 kB cannot be written from here on.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        plx.metamer(
            image, model, key=jax.random.key(0), max_steps=3, checkpoint=sys.argv[1], progress=False
        )
    except plx.CheckpointError as error:
        print(len(error.result.trace), error)
    """
)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs limits on files")
def test_a_real_limit_on_the_size_of_files_loses_nothing(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "run.npz")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": ""},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("3 [Errno 27]")
    assert "run.npz" in ended.stdout
    assert not list(tmp_path.iterdir())
