"""What all saved files are: a NumPy ``.npz`` archive of arrays, and a JSON text about them."""

import dataclasses
import io
import json
import os
import pathlib
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any, final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._tree import describe, is_array


# Increment when files of the format before can no longer be loaded.
_FORMAT = 3
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
    write_atomically({pathlib.Path(path): buffer.getbuffer()})


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


def write_atomically(files: Mapping[pathlib.Path, bytes | memoryview]) -> None:
    """Write files beside their places and move them there when all are whole.

    Args:
        files: The content of each, by its path; an existing file is replaced.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    for path in files:
        if not path.parent.is_dir():
            raise FileNotFoundError(f"The folder {path.parent} does not exist.")
    parts = {path: path.with_name(f".{path.name}.{uuid.uuid4().hex}") for path in files}
    try:
        for path, content in files.items():
            with parts[path].open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, part in parts.items():
            os.replace(part, path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


class Kinds(NamedTuple):
    """What may be in a file besides arrays and plain values.

    Attributes:
        classes: Modules and dataclasses, which are made of their fields.
        enumerations: Each with the names of its members.
    """

    classes: tuple[type, ...] = ()
    enumerations: Mapping[type, tuple[str, ...]] = {}


def pack(value: Any, name: str, arrays: dict[str, np.ndarray], kinds: Kinds) -> Any:
    """Take an object apart into values that fit into JSON, and arrays.

    Args:
        value: Arrays, plain values, dictionaries and tuples of them, lists of plain values, and
            what `kinds` names.
        name: What to call it; the arrays are called after it.
        arrays: Where to put the arrays.
        kinds: What may be in it.

    Returns:
        What `unpack` makes the object of.

    Raises:
        TypeError: If something else is in it.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # JSON knows neither infinity nor what is not a number.
        return {"float": repr(value)}
    if is_array(value):
        arrays[name] = to_plain(value)
        is_on_host = isinstance(value, np.ndarray)
        return {"array": name, "is": describe(value), "on": "host" if is_on_host else "device"}
    if isinstance(value, Mapping):
        prefix = f"{name}." if name else ""
        return {"named": {n: pack(x, prefix + n, arrays, kinds) for n, x in value.items()}}
    if isinstance(value, tuple):
        parts = enumerate(value)
        return {"tuple": [pack(x, f"{name}[{i}]", arrays, kinds) for i, x in parts]}
    if isinstance(value, list):
        # Of plain values, such as the numbers of a key.
        return value
    for kind, members in kinds.enumerations.items():
        if isinstance(value, kind):
            member = next(m for m in members if bool(getattr(kind, m) == value))
            return {"enumeration": kind.__name__, "member": member}
    if not isinstance(value, kinds.classes):
        raise TypeError(f"{name} cannot be saved: a {type(value).__name__} was given.")
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {"class": type(value).__name__} | pack(fields, name, arrays, kinds)


def unpack(packed: Any, archive: Archive, kinds: Kinds) -> Any:
    """Put together what `pack` took apart.

    Raises:
        ValueError: If the file is damaged, or holds float64 numbers while JAX is set to 32 bits.
    """
    if not isinstance(packed, dict):
        return packed
    if "float" in packed:
        return float(packed["float"])
    if "array" in packed:
        return _read_leaf(archive, packed["array"], packed["is"], packed["on"])
    if "enumeration" in packed:
        found = {kind.__name__: kind for kind in kinds.enumerations}
        return getattr(found[packed["enumeration"]], packed["member"])
    if "tuple" in packed:
        return tuple(unpack(part, archive, kinds) for part in packed["tuple"])
    parts = {name: unpack(part, archive, kinds) for name, part in packed["named"].items()}
    if "class" not in packed:
        return parts
    return {kind.__name__: kind for kind in kinds.classes}[packed["class"]](**parts)


def _read_leaf(archive: Archive, name: str, wanted: str, place: str) -> Any:
    array = archive.read_as(name, wanted)
    if place == "host":
        return array
    leaf = jnp.asarray(array)
    if describe(leaf) != wanted:
        raise ValueError(
            f"{archive.path} holds {wanted} under {name}, and JAX is set to 32 bits. Call "
            'jax.config.update("jax_enable_x64", True) first.'
        )
    return leaf


def to_plain(leaf: Any) -> np.ndarray:
    """An array of a dtype that NumPy's files know."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    array = np.asarray(leaf)
    is_foreign = array.dtype.kind == "V"
    return array.view(f"u{array.dtype.itemsize}") if is_foreign else array
