"""Machine: whose work the processors did meanwhile, ours or somebody else's."""

import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that the processes *pids* and all below them have used."""
    roots = [psutil.Process(pid) for pid in pids]
    everyone = roots + [child for root in roots for child in root.children(recursive=True)]
    return sum(_used(process) for process in {one.pid: one for one in everyone}.values())


def _used(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meanwhile:
    """A moment of the machine, from which to count."""

    at: float
    busy: float
    own: float

    @classmethod
    def begins(cls, servers: Iterable[int]) -> "Meanwhile":
        """Begin to count. The bench, its wrk and the processes *servers* are no others."""
        return cls(at=time.monotonic(), busy=_busy(), own=cpu_seconds(servers) + _our_own())

    def others_share(self, servers: Iterable[int]) -> float:
        """Return the share of all processors that others took since, from 0 to 1."""
        now = Meanwhile.begins(servers)
        others = (now.busy - self.busy) - (now.own - self.own)
        return max(0.0, others / ((now.at - self.at) * (os.cpu_count() or 1)))


def _busy() -> float:
    """Return the seconds in which processors worked for a process, or for another machine."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.steal)


def _our_own() -> float:
    """Return what this process and those that it has waited for have used."""
    both = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in both)
