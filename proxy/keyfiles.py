"""Key files: the files that secrets lie in, and who may read them beside the proxy."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from proxy.config import Section
from proxy.settings import PREFIX


class Open(NamedTuple):
    """That others may read a secret: who, and the command that ends it."""

    who: str
    remedy: str


def named(environ: Mapping[str, str], section: Section) -> Iterator[tuple[str, str]]:
    """Yield the path of each file with a secret in it, with the place that names it."""
    for name, path in sorted(environ.items()):
        if name.startswith(PREFIX) and name.endswith("_FILE"):
            yield name, path.strip()
    for name, path in section.texts.items():
        if name.endswith("_file"):
            yield section.at[name], path


def opened(path: Path) -> Open | None:
    """Return who may read the file at *path* and should not, if anybody.

    A group of our own may: that is how a file of root's is read by the proxy alone.
    """
    try:
        found = path.stat()
        # A folder on the way that lets nobody else in closes all that lies in it.
        folders = [folder.stat() for folder in path.resolve().parents]
    except OSError:
        return None  # It is said among the mistakes.
    if found.st_mode & stat.S_IROTH and all(each.st_mode & stat.S_IXOTH for each in folders):
        return Open("everybody on this machine", f"chmod o-rwx {path}")
    if found.st_mode & stat.S_IRGRP and not _is_ours(found.st_gid):
        return Open("a group that the proxy is not in", f"chmod g-rwx {path}")
    return None


def _is_ours(group: int) -> bool:
    # Root looks into the files of somebody else, whose groups it does not know.
    return os.geteuid() == 0 or group in (os.getegid(), *os.getgroups())
