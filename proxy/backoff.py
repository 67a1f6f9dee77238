"""Backoff: how long to wait after failures, longer each time and never all at once."""

from datetime import timedelta

_SHORTEST, _LONGEST = 5.0, 900.0


def backoff(failures: int, jitter: float) -> timedelta:
    """Return how long to wait after *failures*: full jitter from 5 s to 15 min.

    *jitter* is a random number in [0, 1).
    """
    ceiling = min(_LONGEST, _SHORTEST * 2 ** min(failures, 10))
    return timedelta(seconds=_SHORTEST + jitter * (ceiling - _SHORTEST))
