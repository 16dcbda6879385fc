"""What all saved files are: a NumPy ``.npz`` archive of arrays, and a JSON text about them."""

import io
import json
import os
import pathlib
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any, final

import jax
import numpy as np

from .._tree import describe


# Increment when files of the format before can no longer be loaded.
_FORMAT = 2
_META = "plenoptax.json"

_USE_OLD = (
    "Load it with that version; plenoptax.io.examine_saved_synthesis shows what it holds, and its "
    "arrays are those of a NumPy .npz file."
)


def write_archive(
    path: str | os.PathLike, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a file beside its place and move it there when it is whole.

    Args:
        path: Where to; an existing file is replaced.
        meta: What the JSON text says besides the versions.
        arrays: By name, of dtypes that NumPy's files know.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    versions = {"plenoptax": metadata.version("plenoptax"), "jax": jax.__version__}
    text = json.dumps({"format": _FORMAT, **versions, **meta})
    buffer = io.BytesIO()
    np.savez(buffer, **{_META: np.asarray(text)}, **arrays)  # pyright: ignore[reportArgumentType]
    _write_atomically(pathlib.Path(path), buffer.getbuffer())


@final
class Archive:
    """A file that was saved, open to be read; a context manager.

    Attributes:
        path: The file.
        meta: Its JSON text, read.
        names: The names of its arrays.
    """

    def __init__(self, path: str | os.PathLike, *, oldest: int = _FORMAT):
        """Open a file.

        Args:
            path: The file.
            oldest: The oldest format that the caller can read.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is no such file, is damaged, or is of another format.
        """
        self.path = path
        # NumPy leaves a damaged file open: it is given the content and not the file.
        content = io.BytesIO(pathlib.Path(path).read_bytes())
        try:
            self._file: Any = np.load(content, allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is not a file that plenoptax saved, or it is damaged."
            ) from error
        if not isinstance(self._file, np.lib.npyio.NpzFile) or _META not in self._file.files:
            raise ValueError(f"{path} is not a file that plenoptax saved.")
        self.meta: dict[str, Any] = json.loads(str(self.read(_META)))
        found = self.meta["format"]
        if not oldest <= found <= _FORMAT:
            raise ValueError(
                f"{path} was saved by plenoptax {self.meta['plenoptax']} in format {found}; "
                f"plenoptax {metadata.version('plenoptax')} loads format {_FORMAT}. "
                + ("Use that version or a later one." if found > _FORMAT else _USE_OLD)
            )
        self.names = [name for name in self._file.files if name != _META]

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def read(self, name: str) -> np.ndarray:
        """An array; a ValueError if it is missing or damaged."""
        if name not in self._file.files:
            raise ValueError(f"{self.path} is damaged: {name} is missing.")
        try:
            array = self._file[name]
        except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{self.path} is damaged: {name} cannot be read.") from error
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{self.path} is damaged: {name} cannot be read.")
        return array

    def read_as(self, name: str, wanted: str) -> np.ndarray:
        """As `read`, and refuse another dtype or shape than the one that is written down."""
        array = self.read(name)
        if describe(array) != wanted:
            raise ValueError(
                f"{self.path} is damaged: {name} is {describe(array)} in place of {wanted}."
            )
        return array


def _write_atomically(path: pathlib.Path, content: memoryview) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist.")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise
