import contextlib
import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import plenoptax as plx
from plenoptax import _archive, _packing

from . import damaged


@pytest.fixture(scope="module")
def results():
    return damaged.make_results()


@pytest.fixture
def saved(results, tmp_path):
    """A file of a metamer with its trace and its problem."""
    plx.io.save(tmp_path / "a.npz", results["metamer"])
    return tmp_path / "a.npz"


def read_parts(path):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if not name.startswith("plenoptax.")}
        return json.loads(str(file["plenoptax.json"])), arrays


def refuses(path, match):
    """Check that both readers refuse a file and name it; return what they say."""
    said = []
    for read in (plx.io.load_result, plx.io.load_trace):
        with pytest.raises(plx.io.DamagedFileError, match=match) as caught:
            read(path)
        said.append(str(caught.value))
        assert str(path) in said[-1]
    return said


def test_fuzzed_files_are_refused_by_name_or_read_as_they_were(results, tmp_path):
    failures, num_accepted = damaged.fuzz(tmp_path, results, 60, seed=1)
    assert failures == []
    # Every second file has a right digest, and some changes of its text have no meaning.
    assert num_accepted < 60 * 5 / 2


def test_the_fuzz_notices_a_reader_that_fails(results, tmp_path, monkeypatch):
    monkeypatch.setattr(_archive.Archive, "reading", lambda *_: contextlib.nullcontext())
    failures, _ = damaged.fuzz(tmp_path, results, 60, seed=1)
    assert failures


@pytest.mark.parametrize("bug", [AttributeError, KeyError, NameError, TypeError])
def test_a_bug_in_a_reader_is_not_blamed_on_the_file(saved, bug, monkeypatch):
    def fail(*_):
        raise bug("a bug")

    monkeypatch.setattr(_packing, "_build", fail)
    with pytest.raises(bug, match="a bug"):
        plx.io.load_result(saved)


@pytest.mark.parametrize("depth", [120, 600, 5000])
def test_a_text_that_is_nested_deeply_is_refused(saved, depth):
    with np.load(saved) as file:
        arrays = {name: file[name] for name in file.files if not name.startswith("plenoptax.")}
        text = str(file["plenoptax.json"])
    nested = text.replace('"trace": {', f'"trace": {"[" * depth}{"]" * depth}, "was": {{', 1)
    members = {"plenoptax.json": np.asarray(nested), **arrays}
    members = {name: _archive._to_npy(array) for name, array in members.items()}
    digest = _archive._digest(members.items())
    members["plenoptax.sha256"] = _archive._to_npy(np.asarray(digest))
    with zipfile.ZipFile(saved, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    # The stack of Python may end before the depth is known.
    fault = "nested too deeply" if depth == 120 else "nested too deeply|recursion"
    said = refuses(saved, fault)
    assert len(said) == 2


def test_the_digest_covers_names_arrays_and_text(saved):
    before = saved.read_bytes()

    def swap(members):
        contents = dict(members)
        first, second = "trace.infos.loss.npy", "trace.infos.penalty.npy"
        contents[first], contents[second] = contents[second], contents[first]
        return contents.items()

    damaged.rewrite_members(saved, list)
    plx.io.load_result(saved)
    damaged.rewrite_members(saved, swap)
    refuses(saved, "digest")
    saved.write_bytes(before)
    old, new = (text.encode("utf-32-le") for text in ("Gaussian(", "Gaussiam("))

    def edit(members):
        return [(name, content.replace(old, new)) for name, content in members]

    damaged.rewrite_members(saved, edit)
    assert saved.read_bytes() != before
    refuses(saved, "digest")


def test_extra_duplicate_and_compressed_members_are_refused(saved):
    before = saved.read_bytes()
    extra = io.BytesIO()
    np.save(extra, np.zeros(3))
    damaged.rewrite_members(saved, lambda members: [*members, ("more.npy", extra.getvalue())])
    refuses(saved, "more is float64")
    saved.write_bytes(before)
    damaged.rewrite_members(saved, lambda members: [*members, ("note.txt", b"note")])
    refuses(saved, r"note\.txt")
    saved.write_bytes(before)
    with pytest.warns(UserWarning, match="Duplicate name"):
        damaged.rewrite_members(saved, lambda members: [*members, members[1]])
    refuses(saved, "there are two")
    saved.write_bytes(before)
    with zipfile.ZipFile(saved) as file:
        members = [(info.filename, file.read(info)) for info in file.infolist()]
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    refuses(saved, "compressed")


BOMB = """
import resource, sys
import plenoptax as plx
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    plx.io.load_result(sys.argv[1])
except plx.io.DamagedFileError as error:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024)
"""


def test_a_small_file_never_takes_much_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        content = io.BytesIO()
        np.save(content, np.zeros(50_000_000))
        file.writestr("plenoptax.json.npy", content.getvalue())
    assert (tmp_path / "a.npz").stat().st_size < 1e6
    ended = subprocess.run(
        [sys.executable, "-c", BOMB, str(tmp_path / "a.npz")], capture_output=True, text=True
    )
    assert int(ended.stdout) < 20, ended.stderr


HEADERS = {
    "code": b"{'descr': '<f4', 'fortran_order': False, 'shape': (open('ran', 'w').write('1'),), }",
    "nested": b"(" * 900,
    "object": b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "huge": b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }",
    "negative": b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_are_matched_and_not_evaluated(results, saved, name, monkeypatch):
    monkeypatch.chdir(saved.parent)
    text = HEADERS[name] + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(1000)
    with zipfile.ZipFile(saved) as file:
        whole = file.read("state.z.npy")

    def replace_by(new):
        damaged.rewrite_members(
            saved, lambda members: [(n, new if n == "state.z.npy" else c) for n, c in members]
        )

    replace_by(content)
    refuses(saved, r"state\.z")
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]
    # With its own header the file is read: nothing else was wrong with it.
    replace_by(whole)
    np.testing.assert_array_equal(
        plx.io.load_result(saved).image, results["metamer"].image, strict=True
    )


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("state.z", r"state\.z "),
        ("state.accepted_z", "accepted_z"),
        ("image", "image"),
        ("trace.images", r"trace\.images"),
        ("trace.best_image", "best_image"),
    ],
)
def test_images_are_finite_unless_the_status_says_otherwise(saved, name, match):
    meta, arrays = read_parts(saved)
    arrays[name][..., 3, 4] = np.nan
    _archive.write_archive(saved, meta, arrays)
    refuses(saved, f"{match}.*infinite or not a number")
    arrays["state.status._value"][...] = 3
    assert plx.Status[plx.Status.nonfinite].startswith("The objective")
    _archive.write_archive(saved, meta, arrays)
    assert bool(plx.io.load_result(saved).status == plx.Status.nonfinite)


def test_eigenvectors_are_finite_unless_the_status_says_otherwise(results, tmp_path):
    path = tmp_path / "a.npz"
    plx.io.save(path, results["eigendistortions"])
    meta, arrays = read_parts(path)
    arrays["eigendistortions"][0, 0, 0, 0] = np.inf
    _archive.write_archive(path, meta, arrays)
    with pytest.raises(plx.io.DamagedFileError, match="eigendistortions has values"):
        plx.io.load_result(path)
    status = meta["result"]["named"]["status"]["named"]
    for packed in status.values():
        packed["member"] = "nonfinite"
    _archive.write_archive(path, meta, arrays)
    assert np.isinf(plx.io.load_result(path).eigendistortions).any()


def test_parts_that_do_not_fit_together_are_refused(results, saved):
    for change, match in (
        (lambda m, a: a.update({"trace.image_steps": np.zeros(7, np.int64)}), "trace.image_steps"),
        (lambda m, a: m["trace"]["named"].update(provenance=3), "provenance of a Trace"),
        (lambda m, a: m.update(more=1), "has the entries"),
        (lambda m, a: m["state"].update({".z": "float32[10000, 1000, 1000]"}), r"leaf \.z"),
        (lambda m, a: a["state.status._value"].__setitem__((), 77), "status is 77"),
    ):
        before = saved.read_bytes()
        meta, arrays = read_parts(saved)
        change(meta, arrays)
        _archive.write_archive(saved, meta, arrays)
        refuses(saved, match)
        saved.write_bytes(before)
    # The same way of writing, without a change, gives a file that is read.
    _archive.write_archive(saved, *read_parts(saved))
    losses = plx.io.load_trace(saved).losses
    np.testing.assert_array_equal(losses, results["metamer"].trace.losses, strict=True)


def test_a_wrong_list_of_the_elements_of_a_part_is_refused(results, tmp_path):
    path = tmp_path / "part.npz"
    plx.io.save(path, results["part"])
    assert len(plx.io.load_result(path)) == 2
    for part, match in (
        ({"indices": [2], "total": 3}, "lists 1 elements and holds 2"),
        ({"indices": [2, 3], "total": 3}, r"elements are \[2, 3\] of 3"),
        ({"indices": [2, 0.5], "total": 3}, r"elements are \[2, 0.5\] of 3"),
        ({"indices": [2, 0]}, "another form"),
        ({"indices": 2, "total": 3}, "another form"),
        ([2, 0], "another form"),
    ):
        meta, arrays = read_parts(path)
        _archive.write_archive(path, meta | {"part": part}, arrays)
        refuses(path, match)
        _archive.write_archive(path, meta, arrays)


def test_a_class_with_other_parts_is_that_of_another_version_and_can_be_examined(saved, capsys):
    meta, arrays = read_parts(saved)
    infos = meta["trace"]["named"]["infos"]["named"]
    infos["update_norm"] = infos["gradient_norm"]
    meta["plenoptax"] = "9.8.7"
    _archive.write_archive(saved, meta, arrays)
    for read in (plx.io.load_result, plx.io.load_trace):
        with pytest.raises(
            ValueError, match=r"Info of .* 9\.8\.7, which differs in update_norm\."
        ) as caught:
            read(saved)
        assert caught.type is ValueError
    plx.io.examine_saved_synthesis(saved)
    assert f"in {len(arrays['trace.infos.loss']) - 1} steps" in capsys.readouterr().out
