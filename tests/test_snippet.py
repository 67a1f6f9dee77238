"""The snippet's tag, as a shop's template gets it."""

from base64 import b64encode
from hashlib import sha384

import pytest

from proxy.snippet import Snippet
from tests.web import Web, served

SNIPPET = Snippet(name="checkout", content=b"alert()")


def test_the_tag_names_the_content_and_its_hash() -> None:
    integrity = b64encode(sha384(b"alert()").digest()).decode()

    assert SNIPPET.tag(token="t.o-k_en") == (
        f'<script defer src="/co/checkout.{SNIPPET.version}.js" integrity="sha384-{integrity}" '
        'data-token="t.o-k_en"></script>'
    )


@pytest.mark.parametrize("base", ["https://co.shop.com/co", "https://co.shop.com/co/"])
def test_a_tag_for_another_origin_can_be_checked_there(base: str) -> None:
    tag = SNIPPET.tag(base)

    assert f' src="https://co.shop.com/co/checkout.{SNIPPET.version}.js" ' in tag
    assert ' crossorigin="anonymous"' in tag


def test_what_is_said_in_a_tag_stays_in_its_attribute() -> None:
    tag = SNIPPET.tag(email_field='input[name="e"]', consent='"><script>', debug="", kx=None)

    assert ' data-email_field="input[name=&#34;e&#34;]"' in tag
    assert ' data-consent="&#34;&gt;&lt;script&gt;"' in tag
    assert ' data-debug=""' in tag
    assert "kx" not in tag


def test_the_proxy_serves_what_the_tag_names(tmp_path_factory: pytest.TempPathFactory) -> None:
    shipped = Snippet.shipped()
    with served(tmp_path_factory.mktemp("web") / "store") as web:
        answer = loaded(web, f"/co/checkout.{shipped.version}.js")

    assert shipped.integrity == f"sha384-{b64encode(sha384(answer).digest()).decode()}"


def loaded(web: Web, path: str) -> bytes:
    answer = web.ask("GET", path)
    assert answer.status == 200
    return answer.body
