"""Texts that describe models, losses and optimizers, the same in every process."""

import dataclasses
import enum
import functools
import hashlib
import inspect
import sys
import time
import types
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
from jax.core import Tracer

from ._placement import on_host
from ._tree import describe, is_array
from ._types import Key, PyTree


# The largest arrays and the largest sequences that are written out.
_FEW_NUMBERS = 4
_FEW_ELEMENTS = 64


def in_words(value: Any) -> str:
    """Describe an object and the numbers in it.

    Functions are described by their definition and the variables they close over, modules by their
    class and fields, optax transformations by the functions that built them, arrays by their values
    or, if large, by dtype and shape. Other objects are described by their class. The text contains
    no memory address, so two processes write the same text.

    Args:
        value: Any object.
    """
    return _Writer().write(value)


class _Writer:
    """A writer for one object. It tracks the enclosing objects, which may refer to themselves."""

    def __init__(self) -> None:
        self._open: list[int] = []

    def write(self, value: Any) -> str:
        if id(value) in self._open:
            return "..."
        self._open.append(id(value))
        try:
            return self._write(value)
        finally:
            self._open.pop()

    def _write(self, value: Any) -> str:
        if isinstance(value, Tracer) or is_array(value) or isinstance(value, np.generic):
            return _array_in_words(value)
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return repr(value)
        if isinstance(value, enum.Enum | np.dtype):
            return str(value)
        if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
            return getattr(value, "__qualname__", value.__name__)
        if isinstance(value, Mapping) and len(value) <= _FEW_ELEMENTS:
            pairs = (f"{name}: {self.write(part)}" for name, part in value.items())
            return f"{{{', '.join(sorted(pairs))}}}"
        if isinstance(value, optax.GradientTransformation | optax.GradientTransformationExtraArgs):
            return self._transformation(value)
        if isinstance(value, Mapping | tuple | list | set | frozenset):
            return self._sequence(value)
        return self._callable(value) if callable(value) else self._object(value)

    def _callable(self, value: Any) -> str:
        if isinstance(value, functools.partial | eqx.Partial):
            arguments = [self.write(argument) for argument in value.args]
            return f"partial({', '.join([self.write(value.func), *arguments])}" + (
                f", {named})" if (named := self._named(value.keywords)) else ")"
            )
        if isinstance(value, types.MethodType):
            return f"{self.write(value.__self__)}.{value.__name__}"
        # The output of jax.jit and similar functions stands for the function inside.
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is not None:
            return self.write(wrapped)
        function, variables = open_closure(value)
        if function is None:
            return self._object(value)
        name = function.__qualname__.replace(".<locals>", "")
        return f"{name}({self._named(variables)})" if variables else name

    def _object(self, value: Any) -> str:
        if hasattr(value, "__name__"):
            # Universal functions of NumPy and JAX are objects with a name.
            return value.__name__
        name = type(value).__qualname__.replace("<locals>.", "")
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            parts = {name: getattr(value, name) for name in names if hasattr(value, name)}
        else:
            parts = vars(value) if hasattr(value, "__dict__") else {}
        return f"{name}({self._named(parts)})"

    def _sequence(self, value: Any) -> str:
        if len(value) > _FEW_ELEMENTS:
            return f"{type(value).__name__} of {len(value)}"
        parts = [self.write(part) for part in value]
        if isinstance(value, set | frozenset):
            return f"{{{', '.join(sorted(parts))}}}"
        if isinstance(value, list):
            return f"[{', '.join(parts)}]"
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"

    def _named(self, parts: Mapping[str, Any]) -> str:
        return ", ".join(f"{name}={self.write(part)}" for name, part in parts.items())

    def _transformation(self, value: Any) -> str:
        """Describe an optax transformation, a pair of closures, by the function that built it."""
        init, of_init = open_closure(value.init)
        update, of_update = open_closure(value.update)
        if update is None:
            return self._named({"init": value.init, "update": value.update})
        if set(of_update) == {"tx"}:
            return self.write(of_update["tx"])
        if "update_fns" in of_update and "init_fns" in of_init:
            pairs = zip(of_init["init_fns"], of_update["update_fns"], strict=True)
            parts = [self.write(optax.GradientTransformation(*pair)) for pair in pairs]
            return f"chain({', '.join(parts)})"
        name = update.__qualname__.partition(".<locals>")[0]
        variables = _in_order_of_signature(update, name, of_init | of_update)
        step = variables.get("step_size")
        if name == "scale" and isinstance(step, int | float | jax.Array) and step < 0:
            # optax.scale_by_learning_rate leaves only this behind.
            return f"scale_by_learning_rate({self.write(-step)})"
        return f"{name}({self._named(variables)})"


def _array_in_words(array: Any) -> str:
    # The dtype of random keys has no kind.
    kind = getattr(array.dtype, "kind", "key")
    is_plain = not isinstance(array, Tracer) and kind in "biufcV"
    if is_plain and array.size <= _FEW_NUMBERS:
        return str(_shortest(np.asarray(array))).replace("'", "")
    return describe(array)


def _shortest(values: Any) -> Any:
    """Return the numbers of an array, with just enough digits to identify them in their dtype."""
    if values.ndim:
        return [_shortest(row) for row in values]
    text = str(values[()])
    return float(text) if values.dtype.kind in "fV" else text


def open_closure(value: Any) -> tuple[Any, dict[str, Any]]:
    """Return a function and the variables that it closes over; None if it is not a function."""
    contents = None
    if hasattr(value, "contents") and hasattr(getattr(value, "fn", None), "fn"):
        # A closure as a pytree, from Equinox.
        value, contents = value.fn.fn, value.contents or ()
    if hasattr(value, "__wrapped__"):
        # A decorated function closes over the function itself.
        value, contents = inspect.unwrap(value), None
    if not isinstance(value, types.FunctionType):
        return None, {}
    if contents is None:
        contents = [_content(cell) for cell in value.__closure__ or ()]
    return value, dict(zip(value.__code__.co_freevars, contents, strict=True))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        # A variable without a value.
        return None


def _in_order_of_signature(
    function: Callable, name: str, variables: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of the factory of a closure, in order, then its other variables."""
    # A pickled closure carries only the globals that it uses, so the factory is looked up in its
    # module.
    factory = getattr(sys.modules.get(function.__module__), name, None)
    names = list(inspect.signature(factory).parameters) if callable(factory) else []
    found = _without_helpers(variables, names)
    ordered = {n: found[n] for n in names if n in found}
    rest = {n: found[n] for n in sorted(found) if n not in names}
    empty = {n for n, part in rest.items() if part is None or (isinstance(part, dict) and not part)}
    return ordered | {n: part for n, part in rest.items() if n not in empty}


def _without_helpers(variables: dict[str, Any], arguments: list[str]) -> dict[str, Any]:
    """Return the variables of a closure, with inner functions replaced by their variables."""
    found = {}
    for name, part in variables.items():
        function, inner = open_closure(part)
        if function is None or name in arguments:
            found[name] = part
        else:
            found |= _without_helpers(inner, arguments)
    return found


def describe_machine(started: float) -> dict[str, Any]:
    """Return versions, the device, and the seconds since `started`, a `time.perf_counter`."""
    versions = {name: metadata.version(name) for name in ("plenoptax", "jax", "optax", "equinox")}
    return {
        "versions": versions,
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "wall_time": time.perf_counter() - started,
    }


def describe_key(key: Key | None) -> list | None:
    """Return the data of a key, for JSON."""
    return None if key is None else np.asarray(jax.random.key_data(key)).tolist()


def digest(arrays: PyTree) -> str | None:
    """Return a digest of the dtypes, shapes and contents of arrays.

    Args:
        arrays: An array or a tree of arrays; None gives None.
    """
    if arrays is None:
        return None
    found = hashlib.sha256()
    for leaf in map(on_host, jax.tree.leaves(arrays)):
        found.update(describe(leaf).encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return f"sha256:{found.hexdigest()[:32]}"


def describe_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the options of a method: plain values as they are, everything else in words."""

    def write(option: Any) -> Any:
        is_plain = option is None or isinstance(option, int | float | str)
        return option if is_plain else in_words(option)

    return {name: write(option) for name, option in options.items()}
