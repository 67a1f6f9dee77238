"""Eras: which sessions were ended all together on this machine, before the book knows."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec

from proxy.errors import Unavailable


class Eras(msgspec.Struct, frozen=True):
    """Those that were *ended*, in the order in which that was, and the one that follows them."""

    ended: tuple[str, ...] = ()
    next: str = ""

    def current(self, in_book: str) -> str:
        """Return what new sessions are of, where it is *in_book* as far as the book knows."""
        # Where the book has another, it knows all of this already, or more from elsewhere.
        return self.next if in_book in self.ended else in_book

    def after(self, in_book: str, next: str) -> "Eras":
        """Return what is known once all sessions are ended and new ones are of *next*."""
        known = self.ended if in_book in self.ended else ()
        return Eras(ended=(*known, self.current(in_book)), next=next)


class ErasFile:
    """The file of *folder* in which all web workers of a machine find them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sessions.json"

    def read(self) -> Eras:
        """Return what was written last: nothing, where nobody has."""
        try:
            return _DECODER.decode(self._path.read_bytes())
        except FileNotFoundError:
            return Eras()
        except (OSError, msgspec.DecodeError) as error:
            raise Unavailable(f"{self._path} cannot be read") from error

    def write(self, eras: Eras) -> None:
        """Return once *eras* are on disk, or raise :exc:`Unavailable`."""
        try:
            self._replace(msgspec.json.encode(eras))
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written") from error

    def _replace(self, text: bytes) -> None:
        # Readable for its owner alone, as such files are.
        with NamedTemporaryFile(dir=self._path.parent, delete=False) as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(self._path)
            except OSError:
                # A disk that is full does not get fuller by each try.
                Path(file.name).unlink(missing_ok=True)
                raise


_DECODER = msgspec.json.Decoder(Eras)
