"""Operator: somebody at the pages under /admin, with a cookie and with what a form brings along."""

import re
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode

import requests

PASSWORD = "a-password-of-twelve"


@dataclass
class Operator:
    """A browser without a screen, at the proxy at *url*."""

    url: str
    cookie: str = ""
    csrf: str = ""
    seen: list[str] = field(default_factory=list)

    def sign_in(self, password: str = PASSWORD) -> requests.Response:
        """Send the password; what comes back is kept as a browser would."""
        answer = self.post("sign-in", password=password)
        self.cookie = answer.headers.get("Set-Cookie", "").partition(";")[0]
        if self.cookie:
            self.get("shop/dead")
        return answer

    def get(self, path: str) -> requests.Response:
        """Ask for a page."""
        return self._ask("GET", path)

    def page(self, path: str) -> str:
        """Return a page that is there, as text."""
        answer = self.get(path)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return unescape(answer.text)

    def post(self, path: str, **form: str) -> requests.Response:
        """Send a form."""
        return self._ask("POST", path, {"csrf": self.csrf} | form)

    def search(self, words: str) -> str:
        """Look for *words*, and return where that leads to."""
        return self.post("shop/search", words=words).headers["Location"].removeprefix("/admin/")

    def _ask(self, method: str, path: str, form: dict[str, str] | None = None) -> requests.Response:
        answer = requests.request(
            method,
            f"{self.url}/admin/{path}",
            data=None if form is None else urlencode(form),
            headers={
                "Cookie": self.cookie,
                "Content-Type": "application/x-www-form-urlencoded",
            },
            allow_redirects=False,
            timeout=30,
        )
        if found := re.search(r'name="csrf" value="([^"]+)"', answer.text):
            self.csrf = found[1]
        self.seen.append(answer.text)
        return answer
