"""Run a command and print how long it took and how much memory it needed (Linux).

    python tools/measure_run.py python -m pytest -n 2 -q tests

The memory is the sum of the peak resident sets of all processes that live at one time, at its
largest. Where there is no /proc the command runs and only its time is printed. Ends with the exit
status of the command.
"""

import pathlib
import subprocess
import sys
import threading
import time


PROCESSES = pathlib.Path("/proc")
SECONDS_BETWEEN_LOOKS = 0.5


def read_processes():
    """The parent and the peak resident set in bytes of each process."""
    found = {}
    for status in PROCESSES.glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:
            # The process has ended.
            continue
        peak = int(lines["VmHWM"].split()[0]) * 1024 if "VmHWM" in lines else 0
        found[int(status.parent.name)] = int(lines["PPid"]), peak
    return found


def peak_of_family(ancestor):
    """The sum of the peaks of a process and its living descendants."""
    processes = read_processes()
    family, total = [ancestor], 0
    while family:
        number = family.pop()
        total += processes.get(number, (0, 0))[1]
        family += [child for child, (parent, _) in processes.items() if parent == number]
    return total


def main(command):
    """Run the command; return its exit status."""
    start = time.monotonic()
    process = subprocess.Popen(command)
    largest = 0
    ended = threading.Event()

    def watch():
        nonlocal largest
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            largest = max(largest, peak_of_family(process.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        status = process.wait()
    finally:
        ended.set()
        watcher.join()
    memory = f", at most {largest / 2**30:.2f} GiB" if PROCESSES.exists() else ""
    print(f"== {time.monotonic() - start:.0f} s{memory}: {' '.join(command)}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
