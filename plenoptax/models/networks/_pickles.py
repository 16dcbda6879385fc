"""Arrays from files of torch (``.pth``) and from pickled dictionaries of NumPy arrays.

Both formats are pickles, and a pickle can call anything. Here no name in a file is looked up: the
few names that such files need stand for objects of this module, which make arrays and do nothing
else. So no code of a file runs, and torch is not needed.
"""

import contextlib
import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, final

import numpy as np


_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
# The first numbers of a file of torch before version 1.6.
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Fault(ValueError):
    """What is wrong with the content of a file."""


class _Mapping(dict):
    """A dictionary that forgets the attributes that torch gives to its own."""

    def __setstate__(self, state: object) -> None:
        """Ignore the attributes."""


def _refuse_state(self: object, state: object) -> None:
    """Refuse to change an object, whose numbers were checked when it was made."""
    raise Fault("it changes a tensor")


@final
class _Storage:
    """The numbers of one or several tensors.

    Attributes:
        dtype: Their type.
        count: How many there are.
        values: The numbers, once they are read.
    """

    def __init__(self, dtype: np.dtype, count: int, values: np.ndarray | None = None):
        self.dtype, self.count, self.values = dtype, count, values

    __setstate__ = _refuse_state


@final
class _Tensor:
    """A tensor of torch, whose numbers may not have been read yet."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: object):
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, _Storage) or len(shape) != len(strides):
            raise Fault("it has a tensor without numbers")
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise Fault("it has a tensor of no shape")
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        size = math.prod(shape)
        # An expanded tensor could be larger than memory.
        if size and (last >= storage.count or size > storage.count):
            raise Fault("it has a tensor that exceeds its storage")
        self._storage, self._offset, self._shape, self._strides = storage, offset, shape, strides

    __setstate__ = _refuse_state

    def array(self) -> np.ndarray:
        """Return the tensor as an array."""
        values = self._storage.values
        if values is None:
            raise Fault("it has a tensor whose numbers are missing")
        if not math.prod(self._shape):
            return np.zeros(self._shape, values.dtype)
        strides = [stride * values.itemsize for stride in self._strides]
        view = np.lib.stride_tricks.as_strided(values[self._offset :], self._shape, strides)
        return view.copy()


@final
class _NumpyType:
    """A type of NumPy's numbers."""

    def __init__(self, code: Any, *_: object):
        if code not in ("f2", "f4", "f8", "i4", "i8"):
            raise Fault(f"it has an array of type {code!r}")
        self.code = code

    def __setstate__(self, state: Any) -> None:
        if state[1] != "<":
            raise Fault("it has an array in another order of bytes")


@final
class _NumpyArray:
    """An array of NumPy, whose content comes after it."""

    def __init__(self, *_: object):
        self._state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def array(self) -> np.ndarray:
        """Return the array."""
        _, shape, dtype, is_transposed, content = self._state
        values = np.frombuffer(content, f"<{dtype.code}")
        return values.reshape(shape, order="F" if is_transposed else "C")


@final
class _Name:
    """Stands for a name in a file. It has no attributes that a file could change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]):
        object.__setattr__(self, "_make", make)

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise Fault("it changes a name")


_NAMES = {
    ("collections", "OrderedDict"): lambda: _Mapping(),
    ("torch._utils", "_rebuild_tensor"): _Tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    **{(module, "_reconstruct"): _NumpyArray for module in _NUMPY},
    ("numpy", "ndarray"): lambda: None,
    ("numpy", "dtype"): _NumpyType,
    # Text and not types: NumPy's types are shared by the process, and have a state.
    **{("torch", name): lambda code=code: code for name, code in _STORAGES.items()},
}


_FindStorage = Callable[[Any], _Storage]
_Stream = io.BytesIO | io.BufferedReader


@final
class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: _Stream, find_storage: _FindStorage | None):
        super().__init__(stream)
        self._find_storage = find_storage

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        if (module, name) not in _NAMES:
            raise Fault(f"it asks for {module}.{name}, which is not part of an array")
        return _Name(_NAMES[module, name])

    def persistent_load(self, identifier: Any) -> Any:
        """Return the storage that a tensor refers to."""
        if self._find_storage is None:
            raise Fault("it refers to another file")
        return self._find_storage(identifier)


def _unpickle(stream: _Stream, find_storage: _FindStorage | None = None) -> Any:
    """Read one pickle from a stream."""
    start = stream.tell()
    for operation, argument, _ in pickletools.genops(stream):
        # Python would reserve memory for as many objects as the number says.
        if operation.name in ("PUT", "LONG_BINPUT") and (argument or 0) > 10_000_000:
            raise Fault("it has a number of an object that is too large")
    stream.seek(start)
    return _Unpickler(stream, find_storage).load()


def read_torch(path: str) -> dict[str, np.ndarray]:
    """Read the arrays of a file that ``torch.save`` wrote, in the zip format or the one before it.

    The file has a dictionary of arrays, or a dictionary with such a dictionary as ``"state_dict"``
    or as its only one.

    Args:
        path: The file.

    Raises:
        Fault: If it is no such file, or has something other than arrays by name.
    """
    with _explained(), open(path, "rb") as file:
        is_zip = file.read(2) == b"PK"
        file.seek(0)
        return _arrays_in(_read_zip(file) if is_zip else _read_stream(file))


def read_numpy(path: str, scope: str) -> dict[str, np.ndarray]:
    """Read the arrays of a pickled dictionary of dictionaries.

    Args:
        path: The file.
        scope: The entry that has the arrays.

    Returns:
        The arrays. Their names are the keys on the way to them, joined by dots.

    Raises:
        Fault: If it is no such file.
    """
    with _explained(), open(path, "rb") as file:
        tree = _unpickle(file)[scope]
        flat = {
            f"{key}.{part}": value for key, inner in tree.items() for part, value in inner.items()
        }
        return _arrays_in(flat)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn whatever a damaged file makes Python raise into a fault."""
    try:
        yield
    except (Fault, OSError):
        raise
    except Exception as error:
        raise Fault(f"it is damaged ({type(error).__name__}: {error})") from error


def _arrays_in(entries: Any) -> dict[str, np.ndarray]:
    if not isinstance(entries, dict):
        raise Fault(f"it has a {type(entries).__name__} and no dictionary of arrays")
    entries = _weights_of(entries)
    # The names begin so if the network was trained on several devices.
    prefix = "module." if all(str(name).startswith("module.") for name in entries) else ""
    arrays = {}
    for name, value in entries.items():
        if not isinstance(name, str) or not _is_stored(value):
            raise Fault(f"it has an entry {name!r} that is no array")
        arrays[name.removeprefix(prefix)] = value.array()
    return arrays


def _weights_of(entries: dict) -> dict:
    """Return the dictionary of arrays of a checkpoint, which has other entries too."""
    inner = [
        name
        for name, value in entries.items()
        if isinstance(value, dict) and value and all(map(_is_stored, value.values()))
    ]
    if "state_dict" in inner:
        return entries["state_dict"]
    if len(inner) > 1:
        names = " and ".join(map(repr, inner))
        raise Fault(f"it has a dictionary of arrays in each of the entries {names}")
    return entries[inner[0]] if inner else entries


def _is_stored(value: Any) -> bool:
    return isinstance(value, _Tensor | _NumpyArray)


def _describe_storage(identifier: Any) -> tuple[np.dtype, str, int]:
    """Return the type, key and length of a storage."""
    kind, make, key, _, count, *view = identifier
    code = make() if isinstance(make, _Name) else None
    if kind != "storage" or not isinstance(code, str) or type(count) is not int or count < 0:
        raise Fault("it has a storage of no type")
    if any(part is not None for part in view):
        raise Fault("it has a view of a storage")
    return np.dtype(code), str(key), count


def _read_zip(file: _Stream) -> Any:
    with zipfile.ZipFile(file) as archive:
        # Compressed members could be larger than memory; torch writes none.
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise Fault("it is compressed")
        (text,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        root = text.removesuffix("data.pkl")
        if (
            f"{root}byteorder" in archive.namelist()
            and archive.read(f"{root}byteorder") != b"little"
        ):
            raise Fault("it has another order of bytes")
        found: dict[str, _Storage] = {}

        def find(identifier: Any) -> _Storage:
            dtype, key, count = _describe_storage(identifier)
            if key not in found:
                values = np.frombuffer(archive.read(f"{root}data/{key}"), dtype, count)
                found[key] = _Storage(dtype, count, values)
            return found[key]

        return _unpickle(io.BytesIO(archive.read(text)), find)


def _read_stream(file: _Stream) -> Any:
    if (_unpickle(file), _unpickle(file)) != (_MAGIC, _PROTOCOL):
        raise Fault("it is not a file that torch saved")
    _unpickle(file)  # the sizes of numbers on the machine that wrote it
    found: dict[str, _Storage] = {}

    def find(identifier: Any) -> _Storage:
        dtype, key, count = _describe_storage(identifier)
        return found.setdefault(key, _Storage(dtype, count))

    entries = _unpickle(file, find)
    for key in _unpickle(file):
        storage = found[key]
        (count,) = struct.unpack("<q", file.read(8))
        content = file.read(storage.count * storage.dtype.itemsize)
        if count != storage.count:
            raise Fault("it has a storage of another length")
        storage.values = np.frombuffer(content, storage.dtype, count)
    return entries
