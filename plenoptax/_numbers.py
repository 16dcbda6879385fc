import operator
from typing import Any


def as_whole_number(name: str, value: Any, *, at_least: int | None) -> int:
    """A whole number as a Python integer; NumPy and JAX integers are accepted, floats are not.

    Args:
        name: What to call the number in a message.
        value: What was given.
        at_least: The smallest number allowed; None for any.

    Raises:
        ValueError: If it is not a whole number, or too small.
    """
    # Booleans have an index, but nobody means a number by them.
    is_boolean = isinstance(value, bool)
    try:
        number = None if is_boolean else operator.index(value)
    except TypeError:
        number = None
    if number is None or (at_least is not None and number < at_least):
        limit = "" if at_least is None else f", at least {at_least}"
        raise ValueError(f"{name} is a whole number{limit}; got {value!r}.")
    return number


def say_how_to_fit(values: tuple[float, float], allowed: tuple[float, float]) -> str:
    """What to do about an image that leaves a range, for the end of a message.

    Args:
        values: The lowest and the highest value of the image.
        allowed: The range.
    """
    low, high = allowed
    overshoot = max(low - values[0], values[1] - high)
    # Resampling overshoots by less than a quarter of the height of an edge.
    if overshoot <= (high - low) / 4:
        return f"clip it (jnp.clip(image, {low:g}, {high:g}) moves values by up to {overshoot:.2g})"
    if values[0] > low - (values[1] - low) / 4:
        clipped = " and clip what is still outside" if values[0] < low else ""
        return f"divide it by its range (255 for 8 bits){clipped}"
    return "shift and scale it into the range"
