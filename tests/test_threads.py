import concurrent.futures
import signal
import threading

import jax
import jax.numpy as jnp
import pytest

from plenoptax._progress import Interrupt, Watch
from plenoptax._threads import run_together


NOBODY = Watch(lambda count, shown: None, lambda: False)


def test_tasks_run_at_the_same_time_and_the_caller_reports():
    meet, reports = threading.Barrier(3, timeout=20), []

    def report(count, shown):
        reports.append((count, threading.current_thread() is threading.main_thread()))

    def task(count, watch):
        # No task passes until all have come here.
        meet.wait()
        for _ in range(count):
            watch.report(1, {})
        return count, threading.get_ident()

    tasks = [lambda watch, n=n: task(n, watch) for n in (1, 2, 3)]
    found = run_together(tasks, Watch(report, lambda: False))
    assert [count for count, _ in found] == [1, 2, 3]
    assert len({thread for _, thread in found}) == 3
    assert reports == [(1, True)] * 6


def test_ctrl_c_reaches_all_tasks():
    meet = threading.Barrier(2, timeout=20)

    def task(asks, watch):
        meet.wait()
        if asks:
            signal.raise_signal(signal.SIGINT)
        steps = 0
        while not watch.is_interrupted():
            watch.report(1, {})
            steps += 1
        return steps

    with Interrupt() as interrupt:
        watch = Watch(lambda count, shown: None, interrupt.is_set)
        tasks = [lambda watch, asks=asks: task(asks, watch) for asks in (True, False)]
        assert len(run_together(tasks, watch)) == 2
        assert interrupt.is_set()


def test_an_error_ends_the_other_tasks():
    ended = []

    def fail(watch):
        raise ValueError("one of them fails")

    def go_on(watch):
        try:
            while not watch.is_interrupted():
                pass
        except concurrent.futures.CancelledError:
            ended.append(True)
            raise

    with pytest.raises(ValueError, match="one of them fails"):
        run_together([go_on, fail, go_on], NOBODY)
    assert ended == [True, True]


@pytest.mark.parametrize("is_double", [True, False])
def test_tasks_compute_with_the_settings_of_the_caller(is_double):
    def task(watch):
        return jnp.ones(2).dtype, jax.config.jax_default_matmul_precision

    with jax.enable_x64(is_double), jax.default_matmul_precision("highest"):
        found = run_together([task, task], NOBODY)
    assert found == [(jnp.dtype("float64" if is_double else "float32"), "highest")] * 2
