import concurrent.futures
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from ._progress import Watch


def run_together(tasks: Sequence[Callable[[Watch], Any]], watch: Watch) -> list[Any]:
    """Run Python's loops at the same time, each in its own thread, and return their results.

    The loops of several devices overlap, because JAX releases Python's lock while a device
    computes. The calling thread draws the progress bar and gets Ctrl-C, for all loops.

    Args:
        tasks: The loops: functions of a `Watch`, which they ask before each further step.
        watch: The watch of the caller.

    Raises:
        BaseException: The first error of a loop, or a second Ctrl-C. The other loops then end
            after their current step, and their results are lost.
    """
    news: queue.SimpleQueue = queue.SimpleQueue()
    settings, is_over = _settings(), threading.Event()

    def is_interrupted() -> bool:
        if is_over.is_set():
            raise concurrent.futures.CancelledError
        return watch.is_interrupted()

    def run(task: Callable[[Watch], Any]) -> Any:
        try:
            with _with_settings(settings):
                return task(Watch(lambda *report: news.put(report), is_interrupted))
        except BaseException as error:
            news.put(error)
            raise
        finally:
            news.put(None)

    num_running = len(tasks)
    with concurrent.futures.ThreadPoolExecutor(num_running) as threads:
        try:
            futures = [threads.submit(run, task) for task in tasks]
            while num_running:
                piece = news.get()
                if isinstance(piece, BaseException):
                    raise piece
                if piece is None:
                    num_running -= 1
                else:
                    watch.report(*piece)
        finally:
            is_over.set()
    return [future.result() for future in futures]


def _settings() -> tuple[Any, ...]:
    """Return the settings of JAX that change a program; a new thread does not inherit them."""
    config: Any = jax.config
    return (
        config.jax_enable_x64,
        config.jax_default_matmul_precision,
        config.jax_disable_jit,
        config.jax_debug_nans,
    )


@contextlib.contextmanager
def _with_settings(settings: tuple[Any, ...]) -> Iterator[None]:
    x64, precision, without_jit, debug_nans = settings
    with (
        jax.enable_x64(x64),
        jax.default_matmul_precision(precision),
        jax.disable_jit(without_jit),
        jax.debug_nans(debug_nans),
    ):
        yield
