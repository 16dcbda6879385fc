import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
from tqdm.asyncio import tqdm_asyncio
from tqdm.auto import tqdm


# In seconds.
_NEVER = 1e9


class ProgressBar:
    """A bar that counts steps or products and shows the newest numbers.

    Where it is not shown to a person it is written twice, at the start and at the end. The
    environment variable ``TQDM_DISABLE`` turns it off.
    """

    def __init__(self, total: int | None, unit: str, *, initial: int = 0, visible: bool):
        named: dict[str, Any] = {} if visible else {"disable": True}
        is_notebook = tqdm is not tqdm_asyncio
        if not (is_notebook or sys.stderr.isatty()):
            named["mininterval"] = _NEVER
        self._bar = tqdm(total=total, unit=unit, initial=initial, **named)

    def update(self, count: int, shown: dict[str, Any]) -> None:
        """Count steps, and show the newest numbers."""
        texts = {
            name: value if isinstance(value, str) else f"{float(np.mean(value)):.4e}"
            for name, value in shown.items()
        }
        self._bar.set_postfix(texts, refresh=False)
        self._bar.update(count)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()


class Watch(NamedTuple):
    """The connection of a loop with the person who waits for it.

    Attributes:
        report: A function of a number of new steps and of the numbers to show, such as
            `ProgressBar.update`.
        is_interrupted: Whether the loop must end after its current step, such as
            `Interrupt.is_set`.
    """

    report: Callable[[int, dict[str, Any]], None]
    is_interrupted: Callable[[], bool]


class Interrupt:
    """A handler of Ctrl-C. The first ends the run after the current steps, the second at once.

    It is not installed outside of the main thread, where Python allows no signal handlers.
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
