"""Try the installed wheel alone: it must serve the snippet, and the pages of the demo."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import proxy

COMMAND = str(Path(sys.executable).with_name("checkout-proxy"))
PORT = 18765


def main() -> None:
    """Ask the served wheel for what a browser, a probe and a newcomer ask for."""
    assert "site-packages" in str(proxy.__file__), "this is not the wheel"
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "CHECKOUT_PROXY_TOKEN_KEYS": "a-key-to-try-the-wheel-with",
            "CHECKOUT_PROXY_SHOP_KEY": "a-shop-key",
            "CHECKOUT_PROXY_KLAVIYO_KEY": "pk_none",
            "CHECKOUT_PROXY_STORE": f"sqlite:///{folder}/store",
            "CHECKOUT_PROXY_ADMIN_PASSWORD": "a-password-to-try-with",
            "CHECKOUT_PROXY_LOG": "json",
        }
        with running("serve", "--bind", f"127.0.0.1:{PORT}", **settings):
            assert get("/readyz").startswith(b'{"status":"ready"'), "it is not ready"
            assert b"checkoutProxy" in get("/co/checkout.js"), "the snippet is not in the wheel"
            assert b"Password" in get("/admin/sign-in"), "the operator's pages are not in the wheel"
            assert b"--ground" in get("/admin/style.css"), "their style is not in the wheel"
            assert b"checkout_proxy_received" in get("/metrics"), "it tells Prometheus nothing"
    with running("demo", "--port", str(PORT)):
        assert b"Add to cart" in get("/"), "the demo's pages are not in the wheel"
        assert b"checkoutProxy" in get("/co/checkout.js"), "the demo has no snippet"
    print("The wheel alone serves the snippet and the pages.")


@contextmanager
def running(*arguments: str, **settings: str) -> Iterator[None]:
    """Run a command of the wheel, which must stop cleanly in the end."""
    process = subprocess.Popen([COMMAND, *arguments], env=os.environ | settings)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0, "it does not stop cleanly"


def get(path: str) -> bytes:
    """Return what *path* answers, once somebody listens."""
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=5) as response:
                return bytes(response.read())
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


main()
