"""Objects as JSON values and arrays, and back."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from importlib import metadata
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np

from ._archive import Archive, USE_OLD
from ._tree import describe, is_array


class Kinds(NamedTuple):
    """The classes that may be in a file besides arrays and plain values.

    Attributes:
        classes: Modules and dataclasses, which are saved by their fields.
        enumerations: Enumerations with the names of their members.
    """

    classes: tuple[type, ...] = ()
    enumerations: Mapping[type, tuple[str, ...]] = {}


def pack(value: Any, name: str, arrays: dict[str, np.ndarray], kinds: Kinds) -> Any:
    """Split an object into JSON values and arrays.

    Args:
        value: Arrays, plain values, dictionaries, tuples and lists of them, and objects of `kinds`.
        name: The name of the object, from which the names of its arrays are made.
        arrays: Where to put the arrays.
        kinds: The classes that may occur.

    Returns:
        The JSON value from which `unpack` builds the object.

    Raises:
        TypeError: If an object of another class occurs.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # JSON has no infinity and no NaN.
        return {"float": repr(value)}
    if is_array(value):
        arrays[name] = to_plain(value)
        is_on_host = isinstance(value, np.ndarray)
        return {"array": name, "is": describe(value), "on": "host" if is_on_host else "device"}
    if isinstance(value, Mapping):
        prefix = f"{name}." if name else ""
        return {"named": {n: pack(x, prefix + n, arrays, kinds) for n, x in value.items()}}
    if isinstance(value, tuple | list):
        parts = [pack(x, f"{name}[{i}]", arrays, kinds) for i, x in enumerate(value)]
        return parts if isinstance(value, list) else {"tuple": parts}
    for kind, members in kinds.enumerations.items():
        if isinstance(value, kind):
            member = next(m for m in members if bool(getattr(kind, m) == value))
            return {"enumeration": kind.__name__, "member": member}
    if not isinstance(value, kinds.classes):
        raise TypeError(
            f"What is saved must consist of arrays, plain values and results, got {name} of type "
            f"{type(value).__name__}."
        )
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {"class": type(value).__name__} | pack(fields, name, arrays, kinds)


def unpack(packed: Any, archive: Archive, kinds: Kinds) -> Any:
    """Build the object that `pack` has split.

    Raises:
        DamagedFileError: If the file is damaged.
        ValueError: If it holds float64 numbers while JAX is set to 32 bits.
    """
    match packed:
        case None | bool() | int() | str():
            return packed
        case list():
            return [unpack(part, archive, kinds) for part in packed]
        case {"float": str(text)} if len(packed) == 1:
            with archive.reading():
                return float(text)
        case {"array": str(name), "is": str(wanted), "on": "host"} if len(packed) == 3:
            return archive.read_as(name, wanted)
        case {"array": str(name), "is": str(wanted), "on": "device"} if len(packed) == 3:
            return _to_device(archive, name, wanted)
        case {"tuple": list(parts)} if len(packed) == 1:
            return tuple(unpack(part, archive, kinds) for part in parts)
        case {"named": dict(parts)} if len(packed) == 1:
            return {name: unpack(part, archive, kinds) for name, part in parts.items()}
        case {"enumeration": str(name), "member": str(member)} if len(packed) == 2:
            found = {kind.__name__: (kind, members) for kind, members in kinds.enumerations.items()}
            with archive.reading():
                if name not in found:
                    raise ValueError(f"its text names the enumeration {name}")
                kind, members = found[name]
                return getattr(kind, members[members.index(member)])
        case {"class": str(name), "named": dict(parts)} if len(packed) == 2:
            fields = {n: unpack(part, archive, kinds) for n, part in parts.items()}
            classes = {kind.__name__: kind for kind in kinds.classes}
            with archive.reading():
                if name not in classes:
                    raise ValueError(f"its text names the class {name}")
            _check_parts(archive, classes[name], fields)
            with archive.reading():
                return _build(classes[name], fields)
    with archive.reading():
        raise ValueError("its text has another form")


def _check_parts(archive: Archive, kind: type, fields: Mapping[str, Any]) -> None:
    """Refuse the fields of a class of another version, such as a trace with other numbers.

    The digest of the file has been checked, so it is not damaged.
    """
    wanted = {field.name for field in dataclasses.fields(kind)}
    if set(fields) != wanted:
        raise ValueError(
            f"{archive.path} must have been saved with the {kind.__name__} of plenoptax "
            f"{metadata.version('plenoptax')}, got that of another version, {archive.version}, "
            f"which differs in {', '.join(sorted(wanted ^ set(fields)))}. {USE_OLD}"
        )


def _build(kind: type, fields: Mapping[str, Any]) -> Any:
    """Make an object of its fields, which must be as the class annotates them."""
    hints = typing.get_type_hints(kind)
    # The names of axes mean one size throughout the object.
    with jaxtyping.jaxtyped("context"):
        for name in sorted(fields):
            if not _fits(fields[name], hints[name]):
                raise ValueError(f"{name} of a {kind.__name__} has another type or shape")
    return kind(**fields)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is as an annotation says; an array may be on the host or on a device."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(x, arguments[1]) for x in value.values())
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(x, arguments[0]) for x in value)
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        wanted: Any = hint.dtype[np.ndarray, hint.dim_str]
        return is_array(value) and isinstance(np.asarray(value), wanted)
    if hint in (np.ndarray, jax.Array):
        return is_array(value)
    return hint is Any or isinstance(value, hint)


def _to_device(archive: Archive, name: str, wanted: str) -> Any:
    leaf = jnp.asarray(archive.read_as(name, wanted))
    if describe(leaf) != wanted:
        raise ValueError(
            f"{archive.path} must be loaded with 64-bit types, got JAX set to 32 bits and {wanted} "
            f'under {name}. Call jax.config.update("jax_enable_x64", True) first.'
        )
    return leaf


def to_plain(leaf: Any) -> np.ndarray:
    """Return an array of a dtype that NumPy's files support."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    array = np.asarray(leaf)
    is_foreign = array.dtype.kind == "V"
    return array.view(f"u{array.dtype.itemsize}") if is_foreign else array
