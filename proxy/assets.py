"""Assets: the files that are no Python, inside the package in a wheel, beside it in a checkout."""

from pathlib import Path


def folder(name: str) -> Path:
    """Return the folder *name*, ``static`` or ``templates``."""
    package = Path(__file__).parent
    return next(path for path in (package / name, package.parent / name) if path.is_dir())
