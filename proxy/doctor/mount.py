"""Mount: what lies under a folder, and what that keeps through a power cut."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Of these nothing is on a disk.
_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
# SQLite's locks and its shared memory do not hold across machines ("Use Of WAL", sqlite.org).
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse.sshfs"})
# mount(8), ext4(5), and the kernel's page on overlayfs: with these fsync is not what it says.
_UNSYNCED = frozenset({"nobarrier", "barrier=0", "volatile", "fsync=volatile"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file system at *path*, of a *kind*, with its *options*."""

    path: str
    kind: str
    options: frozenset[str]

    @property
    def forgets(self) -> str:
        """Why it keeps nothing through a power cut, in words; empty where it should."""
        if self.kind in _MEMORY:
            return f"{self.kind} is memory"
        unsynced = ", ".join(sorted(self.options & _UNSYNCED))
        return f"it is mounted with {unsynced}" if unsynced else ""

    @property
    def is_remote(self) -> bool:
        """Whether another machine has the files."""
        return self.kind in _REMOTE

    @property
    def goes_with_its_container(self) -> bool:
        """Whether it is the layer over an image, which is gone when the container is."""
        return self.kind in ("overlay", "aufs")


def of(folder: Path) -> Mount | None:
    """Return what *folder* lies on, or ``None`` where the kernel does not say."""
    try:
        text = Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError:
        return None
    path = os.path.realpath(folder)
    under = [mount for mount in _mounts(text) if _is_under(path, mount.path)]
    # Of two at one place the later hides the earlier.
    return max(reversed(under), key=lambda mount: len(mount.path), default=None)


def _mounts(text: str) -> Iterator[Mount]:
    """Yield what stands in mountinfo, as proc(5) describes it."""
    for line in text.splitlines():
        ours, _, theirs = line.partition(" - ")
        fields, (kind, _, options) = ours.split(), theirs.split(maxsplit=2)
        said = frozenset(f"{fields[5]},{options}".split(","))
        yield Mount(path=_unescaped(fields[4]), kind=kind, options=said)


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)


def _is_under(path: str, mount: str) -> bool:
    return path == mount or path.startswith(mount.rstrip("/") + "/")
