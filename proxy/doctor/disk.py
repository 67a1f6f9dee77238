"""Disk: whether it has room, and keeps what it says it has synced; whether a folder is ours."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile

from proxy.doctor import mount
from proxy.doctor.finding import Finding, skipped, warning, well, wrong
from proxy.doctor.setup import Setup
from proxy.settings import variable

_SYNCS = 20
# A disk with a battery behind its cache takes some 30 us and more, with the file system's journal;
# memory takes one or two.
_FASTEST_DISK = 20e-6

_LEAST_BYTES = 1_000_000_000
_LEAST_SHARE = 0.05

_REMEDIES = {
    errno.ENOSPC: "Make room on that disk; until then every state is refused with 503.",
    errno.EDQUOT: "Raise the quota of the proxy's user; until then states are refused with 503.",
    errno.EROFS: "The file system is mounted read-only: see `dmesg` for why, and remount it.",
    errno.EACCES: "Run this command as the user that the proxy runs as, whose folder it must be.",
}
_LOST = "what is acknowledged would not survive a power cut"
_ELSEWHERE = "a folder on a disk that syncs, such as /var/lib/checkout-proxy"


def findings(setup: Setup) -> Iterator[Finding]:
    """Yield how the disk stands on which all shops' facts are kept."""
    settings = setup.settings
    path, setting = settings.spool, variable("spool")
    if settings.store.startswith(_SQLITE):
        path, setting = Path(settings.store.removeprefix(_SQLITE)), variable("store")
    there = _nearest(path)
    yield from _space(there)
    try:
        times = _sync_times(there)
    except OSError as error:
        words = f"{there} cannot be written: {error.strerror}"
        yield skipped("fsync", f"{words}; see the check `store`")
    else:
        yield from _syncs(there, setting, median(times))


_SQLITE = "sqlite:///"


def _nearest(path: Path) -> Path:
    """Return *path*, or the folder above it where it would be made."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def folder(folder: Path, setting: str) -> Iterator[Finding]:
    """Yield how a shop's *folder* stands, which lies where *setting* says."""
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except FileNotFoundError:
        yield _missing(folder, setting)
    except OSError as error:
        yield _unwritable(folder, setting, error)
    else:
        yield well("folder", f"{folder.absolute()} can be written")
        yield from _owner(folder)


def _missing(folder: Path, setting: str) -> Finding:
    try:
        with TemporaryFile(dir=_nearest(folder)):
            pass
    except OSError as error:
        return _unwritable(folder, setting, error)
    words = f"{folder.absolute()} is not there yet: the proxy makes it when it starts"
    return skipped("folder", words, f"Where it has run already, {setting} was another.")


def _unwritable(folder: Path, setting: str, error: OSError) -> Finding:
    words = f"{folder.absolute()} cannot be written: {error.strerror}"
    remedy = _REMEDIES.get(error.errno or 0, f"Mend it, or set {setting} to {_ELSEWHERE}.")
    return wrong("folder", words, remedy)


def _sync_times(folder: Path) -> list[float]:
    """Return how many seconds each of some syncs of new data took, or raise :exc:`OSError`."""
    with TemporaryFile(dir=folder) as file:
        return [_synced(file.fileno()) for _ in range(_SYNCS)]


def _synced(file: int) -> float:
    os.write(file, bytes(4096))
    began = time.perf_counter()
    os.fsync(file)
    return time.perf_counter() - began


def _owner(folder: Path) -> Iterator[Finding]:
    owner = folder.stat().st_uid
    if os.geteuid() == 0 != owner:
        yield warning(
            "owner",
            "you are root, who may do more than the user the files belong to",
            f"Examine it as that user: {as_user(owner)} doctor",
        )


def as_user(number: int) -> str:
    """Return what begins a command that root wants to have run as the user *number*."""
    return f"runuser -u {_user(number)} -- checkout-proxy"


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"'#{number}'"


def _space(folder: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(folder)
    share = usage.free / usage.total if usage.total else 0.0
    words = f"{usage.free / 1e9:.1f} GB are free, {share:.0%} of that file system"
    if usage.free < _LEAST_BYTES or share < _LEAST_SHARE:
        remedy = "Make room: when the disk is full, every state is refused with 503."
        yield warning("space", words, remedy)
    else:
        yield well("space", words)


def _syncs(folder: Path, setting: str, seconds: float) -> Iterator[Finding]:
    under = mount.of(folder)
    kind = under.kind if under else "a file system that is not known"
    words = f"an fsync takes {seconds * 1e3:.3f} ms on {kind}"
    if under and under.forgets:
        yield wrong("fsync", f"{words}; {under.forgets}: {_LOST}", f"Set {setting} to {_ELSEWHERE}")
    elif seconds < _FASTEST_DISK:
        yield wrong(
            "fsync",
            f"{words}, which no disk can do: {_LOST}",
            "Is the virtual disk's cache `unsafe`, or libeatmydata loaded? See docs/doctor.md.",
        )
    elif under and under.goes_with_its_container:
        yield warning(
            "fsync",
            f"{words}, the container's own layer: what is acknowledged is gone with the container",
            f"Mount a volume there, and set {setting} to a folder in it.",
        )
    elif under and under.is_remote:
        yield warning(
            "fsync",
            f"{words}, which another machine has: SQLite's locks do not hold there",
            f"Set {setting} to {_ELSEWHERE}; for many machines there is PostgreSQL.",
        )
    else:
        yield well("fsync", words)
