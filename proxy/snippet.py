"""Snippet: a script for the shop's pages, the name of its content, and the tag that loads it."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256, sha384
from pathlib import Path

from markupsafe import Markup

from proxy import assets

# The best first.
_SUFFIXES = {"br": ".br", "gzip": ".gz"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """One script as it is served: as ``<name>.js``, or as ``<name>.<version>.js`` for good.

    ``compressed`` is the same content by the name of its encoding, the best first.
    """

    name: str
    content: bytes = field(repr=False)
    compressed: Mapping[str, bytes] = field(repr=False, default_factory=dict)

    @classmethod
    def shipped(cls, name: str = "checkout") -> "Snippet":
        """Return the one of *name* that comes with this proxy: ``checkout``, ``consent-tcf``, …."""
        return cls.all_shipped()[name]

    @classmethod
    def all_shipped(cls) -> dict[str, "Snippet"]:
        """Return every script that comes with this proxy, by its name."""
        dist = _dist()
        names = ("checkout", *(f"consent-{tool}" for tool in consent_tools()))
        return {name: cls._read(dist / f"{name}.js") for name in names}

    @classmethod
    def _read(cls, path: Path) -> "Snippet":
        return cls(
            name=path.stem,
            content=path.read_bytes(),
            compressed={
                encoding: path.with_name(path.name + suffix).read_bytes()
                for encoding, suffix in _SUFFIXES.items()
            },
        )

    @property
    def version(self) -> str:
        """The name of its content: another content has another."""
        return sha256(self.content).hexdigest()[:16]

    @property
    def integrity(self) -> str:
        """What a browser compares with what it has loaded (W3C, Subresource Integrity)."""
        return f"sha384-{b64encode(sha384(self.content).digest()).decode()}"

    def tag(self, base: str = "/co", *, nonce: str | None = None, **data: str | None) -> Markup:
        """Return the tag that loads it from the proxy at *base*, a path or an URL.

        *nonce* is that of the page's content security policy. *data* becomes attributes, such as
        ``token`` ``data-token``; ``None`` is left out.
        """
        attributes = {
            "src": f"{base.rstrip('/')}/{self.name}.{self.version}.js",
            "integrity": self.integrity,
            # Without it no browser can check what comes from another origin.
            "crossorigin": "anonymous" if "//" in base else None,
            "nonce": nonce,
            **{f"data-{name}": value for name, value in data.items()},
        }
        given = (
            Markup(' {}="{}"').format(name, value)
            for name, value in attributes.items()
            if value is not None
        )
        return Markup("<script defer{}></script>").format(Markup("").join(given))


def consent_tools() -> list[str]:
    """Return the names of the consent tools that a script of ours listens to."""
    return sorted(path.stem.removeprefix("consent-") for path in _dist().glob("consent-*.js"))


def _dist() -> Path:
    return assets.folder("static") / "dist"
