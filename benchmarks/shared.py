"""What benchmarks share: agreement, times in turns, processes of their own, and problems."""

import contextlib
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import load


ROOT = pathlib.Path(__file__).parents[1]
LIBRARIES = ("plenoptic", "plenoptax")
THREADS = tuple(sorted({1, os.cpu_count() or 1}))


def agree(what, found, wanted, tolerance):
    """Return the norm of the difference over that of `wanted`, and refuse a larger one.

    Times of results that disagree are not comparable.
    """
    found, wanted = (np.asarray(x).ravel() for x in (found, wanted))
    if found.shape != wanted.shape:
        raise SystemExit(f"{what}: one has {found.size} numbers, the other {wanted.size}")
    scale = float(np.linalg.norm(wanted)) or 1.0
    difference = float(np.linalg.norm(found - wanted) / scale)
    # NaN is no agreement.
    if not difference <= tolerance:
        raise SystemExit(f"{what} differs by {difference:.1e}, more than {tolerance:.1e}")
    return difference


def measure(functions, rounds=8, block=8):
    """Return the quartiles of the times of several functions by name, in milliseconds."""
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name] += time_block(function, block)
    return {name: np.percentile(values, [25, 50, 75]) for name, values in times.items()}


def time_block(function, block):
    """Return the milliseconds of several calls.

    In blocks, after a call that is not counted: the threads of one library go on spinning for a
    while, and slow the other down.
    """
    times = []
    function()
    for _ in range(block):
        start = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def compiled(function, *arguments):
    """Return a function without arguments, and the seconds of its compilation."""
    import jax

    start = time.perf_counter()
    executable = jax.jit(function).lower(*arguments).compile()
    elapsed = time.perf_counter() - start
    return lambda: jax.block_until_ready(executable(*arguments)), elapsed


def with_threads(number, function):
    """Return the function, run by so many threads of torch."""
    import torch

    def run():
        if torch.get_num_threads() != number:
            torch.set_num_threads(number)
        return function()

    return run


def by_threads(function, threads=THREADS):
    """Return plenoptic's function with each number of threads, by the name of a column."""
    return {
        f"plenoptic, {number} thread" + "s" * (number > 1): with_threads(number, function)
        for number in threads
    }


def print_header(*labels, more=()):
    """Print the header of a table of calls that `compare_calls` fills."""
    columns = [*labels, "plenoptax", *by_threads(None), "factor", *more]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")


def compare_calls(labels, ours, theirs, rounds=8, block=8, more=()):
    """Print a row of medians and quartiles, and how many times slower plenoptic is at best."""
    times = measure({"plenoptax": ours, **by_threads(theirs)}, rounds, block)
    cells = [f"{half:.2f} [{low:.2f}, {high:.2f}]" for low, half, high in times.values()]
    first, *others = (half for _, half, _ in times.values())
    cells += [f"{min(others) / first:.1f}", *more]
    print("| " + " | ".join([*labels, *cells]) + " |", flush=True)


def summarize(values):
    """Median and range."""
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def photograph(size, rng):
    """Return noise with the spectrum of photographs, in [0, 1]; one channel."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    amplitude = 1 / np.maximum(frequency, 1 / size)
    values = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * amplitude).real
    return (0.5 + 0.4 * np.tanh(values / values.std())).astype(np.float32)[None]


def keep_programs(folder):
    """Let JAX keep all compiled programs in a folder."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def use_threads(number):
    """Let torch use so many threads, and load it."""
    os.environ["OMP_NUM_THREADS"] = str(number)
    import torch

    torch.set_num_threads(number)


def run_child(module, role, *, devices=1, **options):
    """Run a part of a benchmark in a process of its own.

    Returns:
        The numbers of its last line, and ``seconds`` from its start to its end, unless it counts
        itself.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}", "--role", role]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    env = dict(os.environ)
    # Each part says itself where compiled programs are kept.
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    if devices > 1:
        flag = f"--xla_force_host_platform_device_count={devices}"
        env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} {flag}".strip()
    start = time.perf_counter()
    # Errors are captured because plenoptic shows a progress bar that cannot be turned off.
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr.strip().rpartition("\n")[2] or f"{command} failed")
    return {"seconds": seconds} | json.loads(done.stdout.splitlines()[-1])


def synthesize_plenoptic_texture(image, start, watch, max_evaluations=10**7):
    """Synthesize a texture by plenoptic's weighted loss and the L-BFGS of its documentation.

    At most 10 evaluations a step, 100 pairs, strong Wolfe line search.

    Args:
        image: The texture, as a tensor.
        start: The initial image.
        watch: Called after each evaluation with the loss, the representation, that of the texture,
            and the image. If it returns True, the synthesis ends.
        max_evaluations: How many evaluations at most.

    Returns:
        The image as an array, without the axis of batches.
    """
    import plenoptic as po
    import torch

    class Over(Exception):
        pass

    model = po.models.PortillaSimoncelli(image.shape[-2:])
    weighted = po.loss.portilla_simoncelli_loss_factory(model, image)
    metamer = po.Metamer(image, model, loss_function=weighted)
    settings = {"lr": 1, "max_iter": 10, "max_eval": 10, "history_size": 100}
    metamer.setup(
        start,
        optimizer=torch.optim.LBFGS,
        optimizer_kwargs=settings | {"line_search_fn": "strong_wolfe"},
    )

    def loss(representation, target, *rest):
        value = weighted(representation, target, *rest)
        if watch(value.item(), representation.detach(), target, metamer.metamer.detach()):
            raise Over
        return value

    # Set after the checks of the constructor, whose evaluations are none of the synthesis'.
    metamer._loss_function = loss
    with contextlib.suppress(Over):
        metamer.synthesize(max_iter=max_evaluations // 10, stop_criterion=0)
    return metamer.metamer.detach().numpy()[0]


def take_syntheses(turns, module, cases, check, numbers=None):
    """Measure whole syntheses in processes of their own, plenoptax's without and with programs.

    Args:
        turns: Where the pairs go.
        module: The benchmark, with the roles ``start``, ``plenoptic`` and ``plenoptax``.
        cases: By case, the options of all three, or a function of the number of the pair for them.
        check: Refuses runs that disagree, given plenoptic's, plenoptax's, `Turns.agree`, the
            case, and the folder of both.
        numbers: Makes numbers by quantity of what a run says; by default, its seconds.
    """
    numbers = numbers or (lambda run: {"s": run["seconds"]})
    with tempfile.TemporaryDirectory() as temporary:
        found = {}

        def run(case, library, pair):
            folder = pathlib.Path(temporary) / f"{case} {pair}"
            options = cases[case](pair) if callable(cases[case]) else cases[case]
            child = functools.partial(run_child, module, folder=folder, **options)
            if not folder.exists():
                folder.mkdir()
                child("start")
            if library == "plenoptic":
                runs = {"plenoptic": child(library, threads=turns.threads[-1])}
            else:
                names = "plenoptax", "plenoptax, compiled before"
                runs = {name: child(library, cache=folder / "cache") for name in names}
            found[case, pair] = found.get((case, pair), {}) | runs
            if len(found[case, pair]) == 3:
                check(*(found[case, pair][x] for x in LIBRARIES), turns.agree, case, folder)
            return {name: numbers(one) for name, one in runs.items()}

        turns.take(
            {case: [functools.partial(run, case, name) for name in LIBRARIES] for case in cases}
        )


class Turns:
    """Measures in turns, and beside each pair what other programs use.

    Attributes:
        pairs: What was measured, by the number of the pair: the loads before and during it, and its
            numbers by case, variant and quantity.
        facts: By what was compared, the differences between the libraries, and those allowed.
    """

    def __init__(
        self, count, *, seconds=2.0, root=None, pairs=None, facts=None, save=None, threads=THREADS
    ):
        """Choose how many pairs.

        Args:
            count: The number of pairs, with those there are already.
            seconds: For how long to look at other programs before each pair.
            root: The process whose descendants are not others; by default this one.
            pairs: Those of an earlier run.
            facts: Those of an earlier run.
            save: Called without arguments after each pair.
            threads: The numbers of plenoptic's threads for calls; whole syntheses take the last.
        """
        self.count = count
        self.seconds = seconds
        self.root = os.getpid() if root is None else root
        self.pairs = dict(pairs or {})
        self.facts = dict(facts or {})
        self.threads = threads
        self._save = save or (lambda: None)

    def agree(self, what, found, wanted, tolerance):
        """Refuse results that differ, and record by how much the others do."""
        difference = agree(what, found, wanted, tolerance)
        earlier = self.facts.get(what, (0.0, tolerance))[0]
        self.facts[what] = (max(difference, earlier), tolerance)

    def take(self, cases):
        """Measure the pairs that are missing.

        Args:
            cases: By case, functions of the number of the pair, which return numbers by variant and
                quantity.
        """
        for pair in sorted(set(range(self.count)) - set(self.pairs)):
            first = load.take_reading(self.root)
            time.sleep(self.seconds)
            second = load.take_reading(self.root)
            numbers = {case: {} for case in cases}
            for case, functions in cases.items():
                # Whose turn is first changes.
                for function in functions[:: -1 if pair % 2 else 1]:
                    numbers[case] |= function(pair)
            before = load.other_load(first, second)
            during = load.other_load(second, load.take_reading(self.root))
            self.pairs[pair] = {
                "before": before.cores,
                "during": during.cores,
                "source": before.source,
                "numbers": numbers,
            }
            self._save()

    def take_calls(self, ours, theirs, block=8):
        """Measure calls by case in milliseconds, plenoptic's with each number of threads."""

        def milliseconds(name, function, pair):
            return {name: {"ms": statistics.median(time_block(function, block))}}

        cases = {}
        for case in ours:
            functions = {"plenoptax": ours[case], **by_threads(theirs[case], self.threads)}
            cases[case] = [functools.partial(milliseconds, *item) for item in functions.items()]
        self.take(cases)
