"""VFS: a layer under SQLite's own that writes down what goes to the disk, and fails on demand.

The proxy uses the standard library's ``sqlite3``, so the layer is put under the very library that
``_sqlite3`` has loaded. It is a copy of the system's VFS whose files have other methods for what
changes a file; all else is the system's own.
"""

import ctypes
import json
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from dataclasses import asdict, dataclass
from pathlib import Path

OK = 0
FULL = 13
IOERR_WRITE, IOERR_FSYNC, IOERR_TRUNCATE = (10 | kind << 8 for kind in (3, 4, 6))
CANTOPEN = 14


# -- what is written down ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that was not known before; *content* is what an earlier run had left in it.

    ``None`` says that it is new, and that its name is not yet safe.
    """

    path: str
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes were handed to the system."""

    path: str
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    """The file was cut to *size* bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    """All that stood in the journal before *since* about the file is on the disk."""

    path: str
    since: int


@dataclass(frozen=True, slots=True)
class FolderSynced:
    """All names given and taken before are on the disk."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """The name was taken away."""

    path: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Somebody outside was told something: from here on it must be true."""

    what: str
    name: str


Event = Opened | Written | Truncated | Synced | FolderSynced | Deleted | Noted


# -- what goes wrong ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A *call* (write, sync, truncate, open, delete) on files whose path contains *files* fails.

    It fails with *chance*, after *spare* calls that are let through. A *short* write leaves the
    first half of its bytes behind.
    """

    call: str
    code: int
    files: str = ""
    chance: float = 1.0
    spare: int = 0
    short: bool = False


class Disk:
    """What SQLite does in *folder*; *faults* says what goes wrong at the moment."""

    def __init__(self, folder: Path, faults: Callable[[], Sequence[Fault]] = tuple) -> None:
        self._prefix = f"{folder}/"
        self.faults = faults
        self.journal: list[Event] = []
        self.keeps_journal = True
        self.failed = 0
        self._calls: dict[Fault, int] = {}
        self._known: set[str] = set()
        self._lock = threading.Lock()
        self._random = random.Random(0)

    def note(self, what: str, name: str) -> None:
        """Write down that somebody was told *what* about *name*."""
        self._add(Noted(what, name))

    def holds(self, path: str) -> bool:
        """Tell whether *path* lies in the folder."""
        return path.startswith(self._prefix)

    def fault(self, call: str, path: str) -> Fault | None:
        """Return what goes wrong with *call* now."""
        with self._lock:
            for fault in self.faults():
                if fault.call == call and fault.files in path and self._strikes(fault):
                    self.failed += 1
                    return fault
        return None

    def _strikes(self, fault: Fault) -> bool:
        self._calls[fault] = self._calls.get(fault, 0) + 1
        return self._calls[fault] > fault.spare and self._random.random() < fault.chance

    def opened(self, path: str) -> None:
        with self._lock:
            if path in self._known:
                return
            self._known.add(path)
        self._add(Opened(self._name(path), _content(path)))

    def written(self, path: str, offset: int, content: bytes) -> None:
        self._add(Written(self._name(path), offset, content))

    def truncated(self, path: str, size: int) -> None:
        self._add(Truncated(self._name(path), size))

    def synced(self, path: str, since: int) -> None:
        self._add(Synced(self._name(path), since))

    def folder_synced(self) -> None:
        self._add(FolderSynced())

    def deleted(self, path: str) -> None:
        with self._lock:
            self._known.discard(path)
        self._add(Deleted(self._name(path)))

    def _name(self, path: str) -> str:
        return path.removeprefix(self._prefix)

    def _add(self, event: Event) -> None:
        if self.keeps_journal:
            self.journal.append(event)


def _content(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes() or None
    except FileNotFoundError:
        return None


@contextmanager
def watched(folder: Path, faults: Callable[[], Sequence[Fault]] = tuple) -> Iterator[Disk]:
    """Watch what this process' SQLite does in *folder* with files that it opens from now on."""
    disk = Disk(folder, faults)
    layer = _layer()
    layer.begin(disk)
    try:
        yield disk
    finally:
        layer.end(disk)


# -- in other processes ------------------------------------------------------------------

_FOLDER, _FAULTS = "FAULTY_FOLDER", "FAULTY_FOLDER_FAULTS"


class Switch:
    """Faults of a served proxy's store in *folder*, switched while it runs, by a file at *path*."""

    def __init__(self, folder: Path, path: Path) -> None:
        self._path = path
        site = Path(__file__).parent / "site"
        root = Path(__file__).parent.parent.parent
        # Python runs a sitecustomize at its start: granian's workers can be told in no other way.
        self.environment = {
            "PYTHONPATH": f"{site}{os.pathsep}{root}",
            _FOLDER: str(folder),
            _FAULTS: str(path),
        }

    def on(self, *faults: Fault) -> None:
        """Let *faults* begin."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps([asdict(fault) for fault in faults]))
        new.replace(self._path)

    def off(self) -> None:
        """Let all be well again."""
        self._path.unlink()


def install_from_environment() -> None:
    """Install the layer where a :class:`Switch` asks this process to."""
    if _FOLDER in os.environ:
        path = Path(os.environ[_FAULTS])
        disk = Disk(Path(os.environ[_FOLDER]), lambda: _switched_on(path))
        disk.keeps_journal = False
        _layer().begin(disk)


def _switched_on(path: Path) -> Sequence[Fault]:
    try:
        return [Fault(**fault) for fault in json.loads(path.read_text())]
    except FileNotFoundError:
        return []


# -- the library's side ------------------------------------------------------------------

_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Delete = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_Close = CFUNCTYPE(c_int, c_void_p)
_Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(ctypes.Structure):
    """``sqlite3_vfs``; what is not looked at is a plain pointer."""

    _fields_ = (
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", _Open),
        ("delete", _Delete),
        ("others", c_void_p * 14),
    )


class _Methods(ctypes.Structure):
    """``sqlite3_io_methods``, up to version 3."""

    _fields_ = (
        ("version", c_int),
        ("close", _Close),
        ("read", c_void_p),
        ("write", _Write),
        ("truncate", _Truncate),
        ("sync", _Sync),
        ("others", c_void_p * 13),
    )


class _File(ctypes.Structure):
    """``sqlite3_file``: what it is goes on behind its methods."""

    _fields_ = (("methods", POINTER(_Methods)),)


_FRESH_JOURNAL = 0x00080000 | 0x00000800 | 0x00004000  # WAL, main journal, super-journal


class _OpenFile:
    """A file that is open, with the system's own methods."""

    def __init__(self, path: str, disk: Disk, theirs: _Methods, *, syncs_folder: bool) -> None:
        self.path = path
        self.disk = disk
        self.theirs = theirs
        # The system's VFS syncs the folder with the first sync of such a file.
        self.syncs_folder = syncs_folder


class _Layer:
    """The VFS that is the default while there is a disk to watch; it lasts as the process does.

    Not for longer: where SQLite closes a file while Python clears up behind an error, no Python of
    ours may be called.
    """

    def __init__(self) -> None:
        self._disks: list[Disk] = []
        self._files: dict[int, _OpenFile] = {}
        self._methods: dict[int, _Methods] = {}
        self._library = ctypes.CDLL(_library_path())
        self._library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        self._system: _Vfs = self._library.sqlite3_vfs_find(None).contents
        self._ours = _Vfs.from_buffer_copy(self._system)
        self._ours.name = b"watched"
        # Kept, or they would be collected under SQLite's hands.
        self._hooks = (_Open(self._open), _Delete(self._delete))
        self._ours.open, self._ours.delete = self._hooks

    def begin(self, disk: Disk) -> None:
        """Watch *disk* from now on."""
        self._disks.append(disk)
        self._make_default(self._ours)

    def end(self, disk: Disk) -> None:
        """Watch *disk* no longer."""
        self._disks.remove(disk)
        if not self._disks:
            self._make_default(self._system)

    def _make_default(self, vfs: _Vfs) -> None:
        if self._library.sqlite3_vfs_register(ctypes.byref(vfs), 1) != OK:
            raise RuntimeError("SQLite refuses another VFS")

    def _disk(self, path: str) -> Disk | None:
        return next((disk for disk in self._disks if disk.holds(path)), None)

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
        path = "" if name is None else os.fsdecode(ctypes.string_at(name))
        disk = self._disk(path)
        if disk is not None:
            if fault := disk.fault("open", path):
                _File.from_address(file).methods = POINTER(_Methods)()
                return fault.code
            disk.opened(path)
        result = int(self._system.open(vfs, name, file, flags, out))
        if result == OK and disk is not None:
            self._watch(file, path, disk, flags)
        return result

    def _watch(self, address: int, path: str, disk: Disk, flags: int) -> None:
        file = _File.from_address(address)
        theirs = file.methods.contents
        syncs_folder = bool(flags & _FRESH_JOURNAL)
        self._files[address] = _OpenFile(path, disk, theirs, syncs_folder=syncs_folder)
        file.methods = ctypes.pointer(self._around(theirs))

    def _around(self, theirs: _Methods) -> _Methods:
        address = ctypes.addressof(theirs)
        if address not in self._methods:
            ours = _Methods.from_buffer_copy(theirs)
            ours.close = _Close(self._close)
            ours.write = _Write(self._write)
            ours.truncate = _Truncate(self._truncate)
            ours.sync = _Sync(self._sync)
            self._methods[address] = ours
        return self._methods[address]

    def _close(self, address: int) -> int:
        return int(self._files.pop(address).theirs.close(address))

    def _write(self, address: int, data: int, size: int, offset: int) -> int:
        file = self._files[address]
        fault = file.disk.fault("write", file.path)
        if fault is not None:
            size = size // 2 if fault.short else 0
        if size:
            file.disk.written(file.path, offset, ctypes.string_at(data, size))
            result = int(file.theirs.write(address, data, size, offset))
        return result if fault is None else fault.code

    def _truncate(self, address: int, size: int) -> int:
        file = self._files[address]
        if fault := file.disk.fault("truncate", file.path):
            return fault.code
        file.disk.truncated(file.path, size)
        return int(file.theirs.truncate(address, size))

    def _sync(self, address: int, flags: int) -> int:
        file = self._files[address]
        if fault := file.disk.fault("sync", file.path):
            return fault.code
        since = len(file.disk.journal)
        result = int(file.theirs.sync(address, flags))
        if result == OK:
            file.disk.synced(file.path, since)
            if file.syncs_folder:
                file.syncs_folder = False
                file.disk.folder_synced()
        return result

    def _delete(self, vfs: int, name: int, sync_folder: int) -> int:
        path = os.fsdecode(ctypes.string_at(name))
        disk = self._disk(path)
        if disk is None:
            return int(self._system.delete(vfs, name, sync_folder))
        if fault := disk.fault("delete", path):
            return fault.code
        result = int(self._system.delete(vfs, name, sync_folder))
        if result == OK:
            disk.deleted(path)
            if sync_folder:
                disk.folder_synced()
        return result


_installed: list[_Layer] = []


def _layer() -> _Layer:
    if not _installed:
        _installed.append(_Layer())
    return _installed[0]


def _library_path() -> str:
    """Return the file of the SQLite that this Python uses, or raise what is missing."""
    sqlite3.connect(":memory:").close()
    loaded = {line.split()[-1] for line in _mapped() if "libsqlite3" in line}
    if not loaded:
        raise RuntimeError(
            "this Python has SQLite built in: faults of the disk need one that loads "
            "libsqlite3.so, such as Debian's, Ubuntu's or pyenv's"
        )
    return loaded.pop()


def _mapped() -> Iterable[str]:
    return Path("/proc/self/maps").read_text().splitlines()
