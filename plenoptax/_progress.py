import signal
import threading
from types import FrameType
from typing import Any

import numpy as np
from tqdm.auto import tqdm


class ProgressBar:
    """A bar that counts steps or products, with the numbers of the newest."""

    def __init__(self, total: int | None, unit: str, *, initial: int = 0, visible: bool):
        self._bar = tqdm(total=total, unit=unit, initial=initial, disable=not visible)

    def update(self, count: int, shown: dict[str, Any]) -> None:
        """Move on by so many, with the newest numbers."""
        self._bar.update(count)
        self._bar.set_postfix({name: _format(value) for name, value in shown.items()})

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()


def _format(value: Any) -> str:
    return value if isinstance(value, str) else f"{float(np.mean(value)):.4e}"


class Interrupt:
    """Ctrl-C as a wish: the first asks to stop after the steps under way, the second insists.

    Outside the main thread, where Python allows no signal handlers, Ctrl-C is left alone.
    """

    def __init__(self) -> None:
        self._asked = False
        self._previous: Any = None
        self._installed = False

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(self, *exception: object) -> None:
        if self._installed:
            # None: the handler before was not set from Python.
            previous = signal.SIG_DFL if self._previous is None else self._previous
            signal.signal(signal.SIGINT, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def is_set(self) -> bool:
        """Whether the user has asked the run to stop."""
        return self._asked
