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

from proxy.clients import Clients

# With this prefix browsers take it over HTTPS alone, and from this machine.
COOKIE = "__Secure-checkout-proxy-operator"
PATH = "/admin"

_AGE = timedelta(hours=12)
_WITHIN = timedelta(minutes=5)
# A client's first tries are heard whatever others do: nobody can shut an operator out.
_HEARD, _TRIES, _TRIES_OF_ALL = 3, 10, 100
_REMEMBERED = 10_000
_WITHOUT_PROXIES = Clients()


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who signed in; *csrf* is what a form of theirs has to bring along.

    *era* is of all sessions that nobody has ended together since.
    """

    csrf: str
    era: str

    @property
    def session(self) -> str:
        """What the session is called where it is written down: nobody can make a cookie of it."""
        return sha256(self.csrf.encode()).hexdigest()

    def has_sent(self, csrf: str) -> bool:
        """Tell whether a form that brings *csrf* is one of this operator's pages."""
        return hmac.compare_digest(csrf.encode(), self.csrf.encode())


class SignIn:
    """Let in who knows *password*; *secret* signs the sessions, and a new one of either ends them.

    Each web worker counts wrong passwords by itself, of the last five minutes: it hears of ten from
    one client, and where all clients together had a hundred, of three.
    """

    def __init__(
        self,
        password: str,
        secret: str,
        now: Callable[[], datetime],
        clients: Clients = _WITHOUT_PROXIES,
    ) -> None:
        self._password = password
        self._clients = clients
        self._now = now
        key = hmac.digest(secret.encode(), f"checkout-proxy.admin {password}".encode(), "sha256")
        self._serializer = URLSafeTimedSerializer(
            key, salt="checkout-proxy.admin", signer_kwargs={"digest_method": sha256}
        )
        self._wrong: deque[tuple[datetime, str]] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def client(self, request: Request) -> str:
        """Return whose *request* it is; operators may well be on a network of our own."""
        peer, told = request.remote_addr or "", request.headers.get("X-Real-IP", "")
        return self._clients.caller(peer, told)

    def hears(self, client: str) -> bool:
        """Tell whether a password of *client* is heard at all just now; then it counts as wrong.

        So it is until :meth:`admits` knows better: of many at once no more than that are heard.
        """
        now = self._now()
        with self._lock:
            # Set back by a day, a clock would else shut the operator out for a day.
            wrong = [each for at, each in self._wrong if abs(now - at) <= _WITHIN]
            limit = _TRIES if len(wrong) < _TRIES_OF_ALL else _HEARD
            is_heard = wrong.count(client) < limit
            if is_heard:
                self._wrong.append((now, client))
        return is_heard

    def admits(self, password: str, client: str) -> bool:
        """Tell whether the *password* of *client*, which was heard, is right."""
        if not hmac.compare_digest(password.encode(), self._password.encode()):
            return False
        with self._lock:
            self._take_back(client)
        return True

    def _take_back(self, client: str) -> None:
        for place in reversed(range(len(self._wrong))):
            if self._wrong[place][1] == client:
                del self._wrong[place]
                return

    def begin(self, response: Response, era: str) -> Response:
        """Let *response* begin a session of *era*."""
        cookie = self._serializer.dumps([secrets.token_urlsafe(24), era])
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
        return Operator(*said) if is_recent and isinstance(said, list) else None
