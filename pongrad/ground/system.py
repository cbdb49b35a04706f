"""What operating systems do differently: signals, limits and cores. Windows lacks some, and goes without."""

import contextlib
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, NoReturn

import psutil

try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]

STOP_SIGNALS = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}
"""What asks a process to end: Ctrl-C, `kill`, a terminal that is closed."""

_CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """How many cores this process may use: those it is bound to, and what a container's quota allows."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(bound, cpu_quota())))


def cpu_quota(own: Path = Path("/proc/self/cgroup"), root: Path = _CGROUPS) -> float:
    """How many cores' time the process's control groups (Linux cgroups) have; infinity without a quota.

    Args:
        own: says which group the process is in.
        root: where the groups are.
    """
    quotas = [math.inf]
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # version 1
        cfs = [int((root / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")]
        quotas += [cfs[0] / cfs[1]] if cfs[0] > 0 else []
    group = root
    with contextlib.suppress(OSError, StopIteration):  # version 2
        lines = own.read_text().splitlines()
        group = root / next(line[4:] for line in lines if line.startswith("0::/"))
    for folder in (group, *group.parents):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            quotas.append(int(quota) / int(period))  # "max" is no number
        if folder == root:
            break
    return min(quotas)


def end_at_once(number: int, _: Any = None) -> NoReturn:
    """End this process because of this signal, without a word; a handler for `signal.signal`."""
    os._exit(128 + number)


@contextlib.contextmanager
def quiet_at_a_second_interrupt() -> Iterator[None]:
    """In the `with` block Ctrl-C is a KeyboardInterrupt; another, while that is handled, ends the process."""

    def handle(number: int, _: Any) -> None:
        signal.signal(number, end_at_once)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def is_being_started() -> bool:
    """Whether another Python process has just started this one, which still imports that one's script."""
    return getattr(multiprocessing.current_process(), "_inheriting", False)


def lower_priority(by: int) -> None:
    """Let other processes go first."""
    if hasattr(os, "nice"):
        os.nice(by)


def limit_seconds(seconds: float) -> None:
    """End this process when it has computed for so long, even in a loop of a library; 0: no longer."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds, seconds)


def restart_limit() -> None:
    """Count the seconds of `limit_seconds` anew, if there is a limit."""
    if hasattr(signal, "setitimer"):
        _, seconds = signal.getitimer(signal.ITIMER_PROF)
        limit_seconds(seconds)


@contextlib.contextmanager
def limited_memory(spare: int) -> Iterator[None]:
    """In the `with` block the process may use so many bytes more than it does."""
    if resource is None:
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(OSError, ValueError):  # not every system can
        most = psutil.Process().memory_info().vms + spare
        resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@contextlib.contextmanager
def without_stop_signals(signals: Set[int] = frozenset(STOP_SIGNALS)) -> Iterator[None]:
    """In the `with` block none of these asks this process to end; one started then never hears any."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
