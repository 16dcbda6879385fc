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


LISTED_TESTS = {
    marker: frozenset(pathlib.Path(__file__).with_name(f"{marker}.txt").read_text().splitlines())
    for marker in ("slow", "long")
}


def pytest_collection_modifyitems(config, items):
    """Mark the tests that take longest. The lists were made from the durations of a run.

    Of a test with several parameters, `long.txt` never has all.
    """
    for marker, listed in LISTED_TESTS.items():
        for item in items:
            if item.nodeid in listed:
                item.add_marker(marker)
        unknown = listed - {item.nodeid for item in items}
        if unknown and not config.option.file_or_dir:
            raise pytest.UsageError(
                f"tests/{marker}.txt has tests that do not exist: {sorted(unknown)}"
            )


def forget_programs():
    # The plugin of jaxtyping has to come before the package.
    import plenoptax

    plenoptax.clear_caches()


def memory_in_use():
    """Return the resident set of this process in bytes, or 0 where there is no /proc."""
    pages = pathlib.Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 0


# Two processes have to fit into 4 GB. Between modules little is compiled again.
@pytest.fixture(scope="module", autouse=True)
def forget_after_a_module():
    yield
    maps = pathlib.Path("/proc/self/maps")
    # Linux ends a process of 65,530 maps of memory.
    num_maps = len(maps.read_bytes().splitlines()) if maps.exists() else 0
    if memory_in_use() > 0.85e9 or num_maps > 20_000:
        forget_programs()


@pytest.fixture(autouse=True)
def forget_after_a_test():
    yield
    if memory_in_use() > 1.25e9:
        forget_programs()


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
