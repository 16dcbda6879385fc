from collections.abc import Callable
from typing import Any

import equinox as eqx


@eqx.filter_jit
def call_compiled(function: Callable, *arguments: Any) -> Any:
    """Call a function of arrays, by one compiled program for all who call it with their like."""
    return function(*arguments)
