"""Webhook: an address of the operator's that is told of alarms, and can tell that it is us."""

import hashlib
import hmac
import time
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy

import msgspec
import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

from proxy.alarms import Notice
from proxy.deadline import DeadlineAdapter

# Five in all.
_CONNECT_SECONDS = 2.0
_EXCHANGE_SECONDS = 3.0


class Webhook:
    """The receiver at *url*, which knows *key*.

    To connect takes two seconds at most, and the exchange three. No redirect is followed: it could
    carry what is told elsewhere.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key.encode()
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, DeadlineAdapter(_EXCHANGE_SECONDS, connections=1))
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def tell(self, notice: Notice) -> str:
        """Post *notice*; return what went wrong, or nothing where it was taken. It never raises."""
        body = written(notice)
        signed = _Signed(self._key, f"{time.time():.0f}")
        try:
            with self._session.post(
                self._url,
                data=body,
                auth=signed,
                headers={"Content-Type": "application/json", "User-Agent": "checkout-proxy"},
                timeout=_CONNECT_SECONDS,  # The rest is the adapter's.
                allow_redirects=False,
                stream=True,
            ) as response:
                is_taken = 200 <= response.status_code < 300
                return "" if is_taken else f"it answered {response.status_code}"
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            # Without its own words: the address may be a secret.
            return f"no answer: {type(error).__name__}"


def written(notice: Notice) -> bytes:
    """Return *notice* as the receiver gets it."""
    return msgspec.json.encode(
        {
            "id": notice.id,
            "shop": notice.shop,
            "alarm": notice.name,
            "state": notice.state,
            "words": notice.words,
            "remedy": notice.remedy,
            "at": notice.at,
        }
    )


@dataclass(frozen=True, slots=True)
class _Signed(AuthBase):
    """Our signature. As an auth object it also keeps a netrc from adding a password."""

    key: bytes = field(repr=False)
    timestamp: str

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        assert isinstance(request.body, bytes)
        signed = self.timestamp.encode() + b"." + request.body
        digest = hmac.new(self.key, signed, hashlib.sha256).hexdigest()
        request.headers["X-Checkout-Proxy-Timestamp"] = self.timestamp
        request.headers["X-Checkout-Proxy-Signature"] = f"sha256={digest}"
        return request
