"""What README and docs/ show for the page, run as a reader would copy it."""

import json
import re
from pathlib import Path

import pytest

from tests.browser.conftest import Shop
from tests.running import ROOT

PAGES = (ROOT / "README.md", ROOT / "docs/snippet.md", ROOT / "docs/consent.md")

TAG = '<script defer src="/co/checkout.js" data-token="{{ token }}"></script>'
# The shop's own, of which an example may speak.
THEIRS = "<script>window.yourBanner = {}</script>"


def blocks(language: str) -> list[str]:
    """Return the examples in *language*."""
    found = (
        re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        for page in PAGES
        if page.exists()
    )
    return [block for of_page in found for block in of_page]


HTML = blocks("html")
MODULES = [block for block in blocks("js") if 'from "checkout-proxy' in block]


def test_there_are_examples_of_both_kinds() -> None:
    assert len(HTML) >= 4
    assert len(MODULES) >= 2


@pytest.mark.parametrize("html", HTML)
def test_a_page_with_the_example_posts(shop: Shop, html: str) -> None:
    whole = THEIRS + (html if "/checkout.js" in html else TAG + html)
    shop.show(whole.replace("{{ token }}", shop.token()))

    shop.push(consent="granted", first_name="Jane")

    assert shop.has_posts(1, accepted=True)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_with_the_example_posts(shop: Shop, module: str) -> None:
    imports = {
        "checkout-proxy": "/dist/index.js",
        "checkout-proxy/consent/": "/dist/consent/",
    }
    script = re.sub(r'"(checkout-proxy/consent/\w+)"', r'"\1.js"', module)
    token = json.dumps({"token": shop.token()})
    shop.host.pages["/checkout-token"] = token, [("Content-Type", "application/json")]
    shop.show(
        f'<script type="importmap">{json.dumps({"imports": imports})}</script>'
        f"<script>const {{ token }} = {token}</script>"
        f'<script type="module">{script}\ncheckout.push({{ consent: "granted" }});</script>'
    )

    assert shop.has_posts(1, accepted=True)


def test_the_strict_policy_is_one_under_which_it_works(shop: Shop) -> None:
    page = Path(ROOT / "docs/snippet.md").read_text()
    (policy,) = re.findall(r"^Content-Security-Policy: (.*)$", page, re.MULTILINE)
    tag = shop.tag(nonce="n0nce", email="jane@shop-demo.io")

    shop.show(tag, {"Content-Security-Policy": policy.replace("{{ nonce }}", "n0nce")})

    (state,) = shop.states(1)
    assert state.email == "jane@shop-demo.io"
    assert " integrity=" in tag


def test_another_script_does_not_run_under_the_integrity_hash(shop: Shop) -> None:
    tag = shop.tag(email="jane@shop-demo.io").replace("checkout.", "consent-tcf.", 1)

    with shop.page.expect_event("console", lambda said: "integrity" in said.text):
        shop.show(re.sub(r"consent-tcf\.\w+\.js", "consent-tcf.js", tag))

    shop.assert_silent()
