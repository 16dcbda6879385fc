import gc
import os
import pathlib
import signal

import jax
import jaxlib
import jaxtyping
import matplotlib
import numpy as np
import pytest


def set_unless_given(flag, value):
    """Set a flag of XLA, unless whoever runs the tests has set it."""
    given = os.environ.get("XLA_FLAGS", "")
    if flag not in given:
        os.environ["XLA_FLAGS"] = f"{given} --{flag}={value}"


matplotlib.use("Agg")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# No backend has read these yet.
if jaxlib.__version__ in ("0.11.1", "0.11.2"):
    # On the CPU their FFTs can wait for each other forever.
    set_unless_given("xla_cpu_multi_thread_eigen", "false")
elif jaxlib.__version__.startswith(("0.10.", "0.11.0")):
    # A third of the time of all tests; on, programs are compiled as most are for users.
    set_unless_given("xla_cpu_use_fusion_emitters", "false")
# Each worker has one core; splitting a program for several threads costs it a third more time.
set_unless_given("xla_cpu_parallel_codegen_split_count", "1")
# Most of the time goes into compiling programs that run once, also in the processes of a test.
jax.config.update("jax_disable_most_optimizations", True)
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As shells set it for what they run in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# JAX makes many objects that stay: looking through them costs a sixth of the time.
gc.freeze()
gc.set_threshold(50_000)


SLOW_TESTS = frozenset(pathlib.Path(__file__).with_name("slow.txt").read_text().splitlines())


def pytest_collection_modifyitems(config, items):
    """Mark the tests that take longest. The list was made from the durations of a run."""
    for item in items:
        if item.nodeid in SLOW_TESTS:
            item.add_marker("slow")
    unknown = SLOW_TESTS - {item.nodeid for item in items}
    if unknown and not config.option.file_or_dir:
        raise pytest.UsageError(f"tests/slow.txt has tests that do not exist: {sorted(unknown)}")


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Let go of compiled programs in time.

    Linux ends a process of 65,530 maps of memory, and two processes have to fit into 4 GB.
    """
    yield
    maps, pages = pathlib.Path("/proc/self/maps"), pathlib.Path("/proc/self/statm")
    if not maps.exists():
        return
    memory = int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if memory > 1.3e9 or len(maps.read_bytes().splitlines()) > 20_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64():
    """Run the test with 64-bit types enabled."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def getkey():
    """A function that returns a new key at each call, the same ones in every run."""
    keys = iter(jax.random.split(jax.random.key(2026), 1000))
    return lambda: next(keys)


@pytest.fixture
def rng():
    return np.random.default_rng(2026)


@pytest.fixture
def unchecked():
    """Turn the type checks of the test run off, to see the errors that a user sees."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
