import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from plenoptax import data
from plenoptax.data import _fetch

from ..server import serve


def archive():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in (("textures/a.txt", b"first"), ("textures/deep/b.txt", b"second")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A registry of local files, served from this machine; counts the requests."""
    served = tmp_path / "served"
    served.mkdir()
    files = {"textures.tar.gz": archive(), "values.bin": b"12345"}
    with serve(served) as (address, requests):
        lines = []
        for name, content in files.items():
            (served / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            lines.append(f"{name} {digest} {address}/{name}\n")
        digest = hashlib.sha256(b"never").hexdigest()
        lines.append(f"gone.bin {digest} {address}/gone.bin\n")
        registry = tmp_path / "registry.txt"
        registry.write_text("".join(lines))
        monkeypatch.setattr(_fetch, "_REGISTRY", registry)
        monkeypatch.setenv("PLENOPTIC_CACHE_DIR", str(tmp_path / "cache"))
        # pooch waits for seconds between its attempts.
        monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
        yield served, requests


def test_fetch_data_returns_the_file_and_keeps_it(server, tmp_path):
    _, requests = server
    path = data.fetch_data("values.bin")
    assert path == tmp_path / "cache" / "values.bin"
    assert path.read_bytes() == b"12345"
    assert data.fetch_data("values.bin") == path
    assert len(requests) == 1


def test_fetch_data_unpacks_an_archive_and_returns_its_folder(server, tmp_path):
    folder = data.fetch_data("textures.tar.gz")
    assert folder == tmp_path / "cache" / "textures.tar.gz.untar" / "textures"
    assert (folder / "a.txt").read_bytes() == b"first"
    assert (folder / "deep" / "b.txt").read_bytes() == b"second"
    assert data.fetch_data("textures.tar.gz") == folder


def test_fetch_data_refuses_a_file_with_another_hash(server, tmp_path):
    served, requests = server
    (served / "values.bin").write_bytes(b"54321")
    with pytest.raises(ValueError, match="values.bin"):
        data.fetch_data("values.bin")
    assert len(requests) == 3
    assert not (tmp_path / "cache" / "values.bin").exists()


def test_fetch_data_says_where_a_missing_file_belongs(server, tmp_path):
    with pytest.raises(ConnectionError, match="gone.bin could not be downloaded from http.*cache"):
        data.fetch_data("gone.bin")


def test_fetch_data_lists_the_files_for_an_unknown_name():
    with pytest.raises(ValueError, match="tid2013.tar.gz.* got 'einstein.pgm'"):
        data.fetch_data("einstein.pgm")


def test_registry_is_well_formed_and_has_every_downloadable_file():
    lines = [line for line in _fetch._REGISTRY.read_text().splitlines() if not line.startswith("#")]
    entries = [line.split() for line in lines]
    names = [name for name, _, _ in entries]
    assert len(set(names)) == len(names) == 39
    assert all(len(bytes.fromhex(digest)) == 32 for _, digest, _ in entries)
    assert all(url.startswith("https://osf.io/download/") for _, _, url in entries)
    assert len(data.DOWNLOADABLE_FILES) == 12
    assert set(data.DOWNLOADABLE_FILES) <= set(names)


@pytest.mark.parity
def test_registry_is_that_of_plenoptic():
    plenoptic = pytest.importorskip("plenoptic.data._fetch")
    lines = [line for line in _fetch._REGISTRY.read_text().splitlines() if not line.startswith("#")]
    ours = {name: (digest, url) for name, digest, url in map(str.split, lines)}
    retriever = plenoptic.retriever
    theirs = {
        name: (digest.removeprefix("sha256:"), retriever.get_url(name))
        for name, digest in retriever.registry.items()
    }
    assert ours == theirs
    assert plenoptic.DOWNLOADABLE_FILES == data.DOWNLOADABLE_FILES


@pytest.mark.network
def test_fetch_data_gets_the_images_of_portilla_and_simoncelli(tmp_path, monkeypatch):
    monkeypatch.setenv("PLENOPTIC_CACHE_DIR", str(tmp_path))
    folder: Path = data.fetch_data("portilla_simoncelli_images.tar.gz")
    assert data.load_images(folder / "fig4a.jpg").shape == (1, 256, 256)


def member(name, kind=tarfile.REGTYPE, link=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        member("../outside"),
        member("textures/../../outside"),
        member("/outside"),
        member("C:/outside"),
        member("..\\outside"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("link", tarfile.LNKTYPE, "../outside"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda entry: f"{entry.name} {entry.type.decode()}",
)
def test_an_archive_cannot_lead_out_of_its_folder(tmp_path, entry):
    path = tmp_path / "cache" / "bad.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(entry)
    with pytest.raises(ValueError, match=r"bad\.tar\.gz must hold files and folders only"):
        _fetch._unpack(str(path), "download", None)
    assert [file.name for file in path.parent.iterdir()] == ["bad.tar.gz"]
    assert [file.name for file in tmp_path.iterdir()] == ["cache"]
