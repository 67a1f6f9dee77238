"""Sign-in: who may see the operator's pages, by a password, for twelve hours."""

import hmac
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from flask import Request, Response
from itsdangerous import BadData, URLSafeTimedSerializer

COOKIE = "checkout-proxy-operator"
PATH = "/admin"

_AGE = timedelta(hours=12)
_TRIES, _WITHIN = 10, timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who signed in; *csrf* is what a form of theirs has to bring along."""

    csrf: str

    def has_sent(self, csrf: str) -> bool:
        """Tell whether a form that brings *csrf* is one of this operator's pages."""
        return hmac.compare_digest(csrf.encode(), self.csrf.encode())


class SignIn:
    """Let in who knows *password*; *secret* signs the sessions, and a new one of either ends them.

    Each web worker counts wrong passwords by itself: after ten within five minutes it hears of no
    other, whoever asks.
    """

    def __init__(self, password: str, secret: str, now: Callable[[], datetime]) -> None:
        self._password = password
        self._now = now
        key = hmac.digest(secret.encode(), f"checkout-proxy.admin {password}".encode(), "sha256")
        self._serializer = URLSafeTimedSerializer(
            key, salt="checkout-proxy.admin", signer_kwargs={"digest_method": sha256}
        )
        self._wrong: deque[datetime] = deque(maxlen=_TRIES)
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether a password is heard at all just now."""
        with self._lock:
            is_full = len(self._wrong) == _TRIES
            # Set back by a day, a clock would else shut the operator out for a day.
            return not is_full or abs(self._now() - self._wrong[0]) > _WITHIN

    def admits(self, password: str) -> bool:
        """Tell whether *password* is right, and remember where it is not."""
        if hmac.compare_digest(password.encode(), self._password.encode()):
            return True
        with self._lock:
            self._wrong.append(self._now())
        return False

    def begin(self, response: Response) -> Response:
        """Let *response* begin a session."""
        cookie = self._serializer.dumps(secrets.token_urlsafe(24))
        response.set_cookie(
            COOKIE,
            str(cookie),
            max_age=_AGE,
            path=PATH,
            secure=True,  # Browsers take it from this machine without TLS as well.
            httponly=True,
            samesite="Strict",
        )
        return response

    def end(self, response: Response) -> Response:
        """Let *response* end the session in this browser."""
        response.delete_cookie(COOKIE, path=PATH, secure=True, httponly=True, samesite="Strict")
        return response

    def operator(self, request: Request) -> Operator | None:
        """Return who sent *request*, where that is somebody who signed in."""
        try:
            said, began_at = self._serializer.loads(
                request.cookies.get(COOKIE, ""), return_timestamp=True
            )
        except BadData:
            return None
        # By the serializer's own measure a session that another machine, a second ahead of this
        # one, has just begun would be over.
        is_recent = abs(datetime.now(UTC) - began_at) < _AGE
        return Operator(said) if is_recent and isinstance(said, str) else None
