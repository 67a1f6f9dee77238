"""Certificate: whether browsers believe the host, and for how long."""

import os
import socket
import ssl
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from proxy.doctor.finding import Finding, warning, well, wrong

_SECONDS = 3.0
# Let's Encrypt's are renewed thirty days before their end: what is nearer was not renewed.
_FEWEST_DAYS = 14


def findings(url: str) -> Iterator[Finding]:
    """Yield whether the host at *url* shows a certificate that is believed here."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        words = "it is plain HTTP: a page that came over HTTPS may not post to it"
        yield warning("tls", words, "Give the address that shoppers see, with https://.")
        return
    try:
        days = _days_left(parts.hostname or "", parts.port or 443)
    except ssl.SSLCertVerificationError as error:
        yield wrong("tls", f"the certificate is not believed: {error.verify_message}", _REMEDY)
    except ssl.SSLError as error:
        yield wrong("tls", f"TLS failed: {error.reason}", "Is it HTTPS that this port speaks?")
    except OSError:
        return  # That it cannot be reached is told by the request that follows.
    else:
        yield _dated(days)


_REMEDY = (
    "Renew it, or serve the whole chain (fullchain.pem). Of an authority of your own: "
    "REQUESTS_CA_BUNDLE=its-certificate.pem checkout-proxy doctor …"
)


def _days_left(host: str, port: int) -> float:
    """Return for how long the certificate is valid, or raise :exc:`OSError`."""
    bundle = (
        os.environ.get("REQUESTS_CA_BUNDLE")
        or os.environ.get("CURL_CA_BUNDLE")
        or DEFAULT_CA_BUNDLE_PATH
    )
    context = ssl.create_default_context(cafile=bundle)
    with (
        socket.create_connection((host, port), timeout=_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        shown = secure.getpeercert() or {}
    return (ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()) / 86_400


def _dated(days: float) -> Finding:
    words = f"the certificate is believed, for {days:.0f} days more"
    if days < _FEWEST_DAYS:
        return warning("tls", words, "Is it renewed by itself? `certbot renew --dry-run` tells.")
    return well("tls", words)
