"""Snippet: the script for the shop's pages, the name of its content, and the tag that loads it."""

from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256, sha384

from markupsafe import Markup

from proxy import assets


@dataclass(frozen=True, slots=True)
class Snippet:
    """The script as it is served: ``checkout.js``, or ``checkout.<version>.js`` for good."""

    content: bytes = field(repr=False)

    @classmethod
    def shipped(cls) -> "Snippet":
        """Return the one that comes with this proxy."""
        return cls((assets.folder("static") / "checkout.js").read_bytes())

    @property
    def version(self) -> str:
        """The name of its content: another content has another."""
        return sha256(self.content).hexdigest()[:16]

    @property
    def integrity(self) -> str:
        """What a browser compares with what it has loaded (W3C, Subresource Integrity)."""
        return f"sha384-{b64encode(sha384(self.content).digest()).decode()}"

    def tag(self, base: str = "/co", **data: str | None) -> Markup:
        """Return the tag that loads it from the proxy at *base*, a path or an URL.

        *data* becomes attributes, such as ``token`` ``data-token``; ``None`` is left out.
        """
        attributes = {
            "src": f"{base.rstrip('/')}/checkout.{self.version}.js",
            "integrity": self.integrity,
            # Without it no browser can check what comes from another origin.
            "crossorigin": "anonymous" if "//" in base else None,
            **{f"data-{name}": value for name, value in data.items()},
        }
        given = (
            Markup(' {}="{}"').format(name, value)
            for name, value in attributes.items()
            if value is not None
        )
        return Markup("<script defer{}></script>").format(Markup("").join(given))
