"""Write signatures.json: the names, the order and the defaults of plenoptic's parameters.

Run with plenoptic 2.1.1 installed.
"""

import inspect
import json
import pathlib

import plenoptic
import torch


ROOMS = ("data", "io", "loss", "metric", "models", "plot", "process", "regularize", "validate")
REQUIRED = "required"


def describe_default(default):
    """A default as JSON holds it; functions and dtypes by their name."""
    if default is inspect.Parameter.empty:
        return REQUIRED
    if isinstance(default, torch.dtype):
        return str(default).removeprefix("torch.")
    return getattr(default, "__name__", default)


def describe(function):
    return {
        parameter.name: describe_default(parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind != parameter.VAR_KEYWORD
    }


def public_callables():
    for room in ("", *ROOMS):
        module = getattr(plenoptic, room) if room else plenoptic
        for name in dir(module):
            value = getattr(module, name)
            is_warning = isinstance(value, type) and issubclass(value, Warning)
            if not name.startswith("_") and callable(value) and not is_warning:
                yield f"{room}.{name}".lstrip("."), value


if __name__ == "__main__":
    signatures = {name: describe(function) for name, function in public_callables()}
    path = pathlib.Path(__file__).with_name("signatures.json")
    lines = [f"{json.dumps(name)}: {json.dumps(rest)}" for name, rest in signatures.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
