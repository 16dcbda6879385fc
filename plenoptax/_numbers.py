import operator
from typing import Any


def as_whole_number(name: str, value: Any, *, at_least: int) -> int:
    """A whole number as a Python integer; NumPy and JAX integers are accepted, floats are not.

    Args:
        name: What to call the number in a message.
        value: What was given.
        at_least: The smallest number allowed.

    Raises:
        ValueError: If it is not a whole number, or too small.
    """
    # Booleans have an index, but nobody means a number by them.
    is_boolean = isinstance(value, bool)
    try:
        number = None if is_boolean else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < at_least:
        raise ValueError(f"{name} is a whole number, at least {at_least}; got {value!r}.")
    return number
