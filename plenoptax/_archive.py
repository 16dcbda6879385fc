"""The file format: a NumPy ``.npz`` archive of arrays with a JSON text about them."""

import contextlib
import hashlib
import io
import json
import math
import os
import pathlib
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, final, NamedTuple, TypeVar

import jax
import numpy as np

from ._tree import describe
from ._writing import write_atomically


T = TypeVar("T")

# Increment when files of the format before can no longer be loaded. A class that is saved by its
# fields may get others in the same format: `unpack` refuses it with the version that saved it.
_FORMAT = 4
_META = "plenoptax.json"
_DIGEST = "plenoptax.sha256"
# Older formats have no digest and no list of their arrays.
_FIRST_WITH_DIGEST = 4

USE_OLD = (
    "Load it with that version. plenoptax.io.examine_saved_synthesis shows its contents, and "
    "NumPy reads its arrays."
)

# The one form in which NumPy writes the headers of plain arrays. It is matched and not evaluated.
_HEADER = re.compile(
    rb"\{'descr': '([<>|][biufcU]\d{1,9})', 'fortran_order': (True|False), "
    rb"'shape': \((|\d{1,18},|\d{1,18}(?:, \d{1,18})+)\), \} *\n"
)


# What zipfile raises about members that it cannot read, besides BadZipFile.
_PARSER_FAULTS = (EOFError, NotImplementedError, OSError, OverflowError, struct.error)

# A saved result has a few levels; each takes some of Python's stack.
_DEEPEST = 100


class DamagedFileError(ValueError):
    """A file that plenoptax did not save, or that has changed since."""


def write_archive(
    path: str | os.PathLike, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write an archive; see `plenoptax._writing.write_atomically`.

    Args:
        path: The file. An existing file is replaced.
        meta: The entries of the JSON text, besides the versions and the list of arrays.
        arrays: The arrays by name, of dtypes that NumPy's files support.

    Raises:
        OSError: If the file cannot be written.
    """
    versions = {"plenoptax": metadata.version("plenoptax"), "jax": jax.__version__}
    listed = {name: describe(array) for name, array in arrays.items()}
    text = json.dumps({"format": _FORMAT, **versions, **meta, "arrays": listed}, allow_nan=False)
    members = {name: _to_npy(array) for name, array in {_META: np.asarray(text), **arrays}.items()}
    members[_DIGEST] = _to_npy(np.asarray(_digest(members.items())))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            # Without a date, the same content gives the same file.
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), content)
    write_atomically({pathlib.Path(path): buffer.getvalue()})


def look_up(text: Any, name: str, kind: type[T]) -> T:
    """Return an entry of a parsed text; raise a ValueError if it is missing or of another type."""
    found = text.get(name) if isinstance(text, dict) else None
    # The exact type: in Python, but not in JSON, true is a whole number.
    if type(found) is not kind:
        raise ValueError(f"its entry {name} is missing or has another form")
    return found


def check_finite(name: str, array: np.ndarray) -> None:
    """Refuse an array with values that are infinite or not a number, such as texts."""
    if array.dtype.kind not in "biufc" or not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are infinite or not a number")


def check_curves(arrays: Sequence[np.ndarray]) -> None:
    """Refuse losses that are not numbers over steps, or no losses at all."""
    is_curve = [one.ndim == 1 and one.size > 0 and one.dtype.kind == "f" for one in arrays]
    if not is_curve or not all(is_curve):
        raise ValueError("its trace has no losses")


def _to_npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _digest(members: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in members:
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


@final
class Archive:
    """A saved file, open for reading; a context manager.

    It is checked completely before anything is used: its members, their headers and sizes, its
    digest, and its list of arrays. No part of it is evaluated or run.

    Attributes:
        path: The file.
        meta: Its JSON text, parsed.
        version: The version of plenoptax that saved it.
        arrays: The dtypes and shapes of its arrays, in words, by name.
    """

    def __init__(self, path: str | os.PathLike, *, oldest: int = _FORMAT):
        """Open a file.

        Args:
            path: The file.
            oldest: The oldest format that the caller can read.

        Raises:
            FileNotFoundError: If the file does not exist.
            DamagedFileError: If plenoptax did not save the file, or it has changed since.
            ValueError: If it has another format.
        """
        self.path = path
        content = pathlib.Path(path).read_bytes()
        with self.reading(*_PARSER_FAULTS):
            self._file = zipfile.ZipFile(io.BytesIO(content))
            self._headers = self._read_headers(len(content))
        if _META not in self._headers:
            raise DamagedFileError(f"{path} must be a file that plenoptax saved, got another file.")
        with self.reading(RecursionError):
            self.meta: dict[str, Any] = _parse(str(self.read(_META)))
            found = look_up(self.meta, "format", int)
            self.version = look_up(self.meta, "plenoptax", str)
        if not oldest <= found <= _FORMAT:
            advice = "Use that version or a later one." if found > _FORMAT else USE_OLD
            raise ValueError(
                f"{path} must have format {_FORMAT}, which plenoptax "
                f"{metadata.version('plenoptax')} loads, got format {found} of plenoptax "
                f"{self.version}. {advice}"
            )
        self.arrays = {
            name: describe(header)
            for name, header in self._headers.items()
            if name not in (_META, _DIGEST)
        }
        if found >= _FIRST_WITH_DIGEST:
            with self.reading():
                self._check_digest()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @contextlib.contextmanager
    def reading(self, *faults: type[Exception]) -> Iterator[None]:
        """Raise a ValueError about the content of the file as one error that names the file.

        Other errors pass, because they are bugs of plenoptax.

        Args:
            *faults: Further errors that a damaged file causes, such as those of a parser.
        """
        try:
            yield
        except DamagedFileError:
            raise
        except (ValueError, zipfile.BadZipFile, *faults) as error:
            fault = str(error) or type(error).__name__
            raise DamagedFileError(
                f"{self.path} must be a file that plenoptax saved, got another file or a damaged "
                f"one ({fault}). Use another copy of it."
            ) from error

    def read(self, name: str) -> np.ndarray:
        """Return an array; a DamagedFileError if it is missing or damaged."""
        with self.reading():
            if name not in self._headers:
                raise ValueError(f"{name} is missing")
            header = self._headers[name]
            content = self._file.read(f"{name}.npy")[header.end :]
            order = "F" if header.is_fortran else "C"
            array = np.ndarray(header.shape, header.dtype, content, order=order)
            if array.dtype.kind == "b" and (array.view(np.uint8) > 1).any():
                raise ValueError(f"{name} has values that are neither true nor false")
            return array.copy(order="K")

    def read_as(self, name: str, wanted: str) -> np.ndarray:
        """As `read`, and refuse a dtype or shape that differs from the text."""
        array = self.read(name)
        with self.reading():
            if describe(array) != wanted:
                raise ValueError(f"{name} is {describe(array)} and not {wanted}")
        return array

    def check_entries(self, *, required: Iterable[str], optional: Iterable[str] = ()) -> None:
        """Refuse a text whose entries, besides those of each file, are others than these."""
        with self.reading():
            found = set(self.meta) - {"format", "plenoptax", "jax", "kind", "arrays"}
            if not set(required) <= found <= {*required, *optional}:
                raise ValueError(f"its text has the entries {sorted(found)}")

    def _read_headers(self, size: int) -> dict[str, "_Header"]:
        """Check the members and their headers before any array is read."""
        headers = {}
        for member in self._file.infolist():
            name = member.filename.removesuffix(".npy")
            if name == member.filename or name in headers:
                raise ValueError(f"its member {member.filename} is no array, or there are two")
            is_plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
            if not is_plain or member.compress_size != member.file_size:
                raise ValueError(f"its member {name} is compressed or encrypted")
            with self._file.open(member) as file:
                headers[name] = _read_header(name, file.read(_LONGEST_HEADER), member.file_size)
            size -= member.file_size
        if size < 0:
            raise ValueError("its members are larger than itself")
        return headers

    def _check_digest(self) -> None:
        listed = look_up(self.meta, "arrays", dict)
        for name in {**listed, **self.arrays}:
            found, wanted = self.arrays.get(name, "missing"), listed.get(name, "nothing")
            if found != wanted:
                raise ValueError(f"{name} is {found} and not {wanted}")
        members = ((n, self._file.read(f"{n}.npy")) for n in self._headers if n != _DIGEST)
        if str(self.read(_DIGEST)) != _digest(members):
            raise ValueError("its digest is that of another content")


class _Header(NamedTuple):
    """What the header of a ``.npy`` member says, and where it ends."""

    dtype: np.dtype
    shape: tuple[int, ...]
    is_fortran: bool
    end: int


# Those that NumPy writes are padded to a multiple of 64 bytes.
_LONGEST_HEADER = 1024


def _read_header(name: str, start: bytes, size: int) -> _Header:
    magic, version, length = start[:6], start[6:8], int.from_bytes(start[8:10], "little")
    match = _HEADER.fullmatch(start, 10, 10 + length)
    if magic != b"\x93NUMPY" or version != b"\x01\x00" or match is None:
        raise ValueError(f"the header of {name} is not one of a plain array")
    dtype = np.dtype(match[1].decode())
    shape = tuple(int(part) for part in match[3].decode().split(",") if part)
    if 10 + length + dtype.itemsize * math.prod(shape) != size:
        raise ValueError(f"{name} has another size than its header says")
    return _Header(dtype, shape, match[2] == b"True", 10 + length)


def _parse(text: str) -> dict[str, Any]:
    """Parse the JSON text strictly: no name twice, and no numbers that JSON does not know."""

    def refuse(constant: str) -> None:
        raise ValueError(f"its text contains {constant}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("its text has a name twice")
        return dict(pairs)

    parsed = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    if not isinstance(parsed, dict):
        raise ValueError("its text is not a JSON object")
    if _depth(parsed) > _DEEPEST:
        raise ValueError("its text is nested too deeply")
    return parsed


def _depth(text: Any) -> int:
    parts = text.values() if isinstance(text, dict) else text
    return 1 + max(map(_depth, parts), default=0) if isinstance(text, dict | list) else 0
