"""An access token is bought, kept while it is good, and never made of what is no token."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from proxy.carts.access import Access
from proxy.carts.asking import Asking
from proxy.errors import SourceDown, SourceRefused
from tests.platform import Platform


@pytest.fixture
def seller() -> Iterator[Platform]:
    with Platform().serve() as seller:
        yield seller


@pytest.fixture
def access(seller: Platform) -> Iterator[Access]:
    with closing(Asking()) as asking:
        yield Access(asking, url=f"{seller.url}/token", key="a-client:a-secret", scope="")


def sells(seller: Platform, token: Any, **more: Any) -> None:
    seller.answer = json.dumps({"access_token": token, **more}).encode()


def use(access: Access) -> str:
    """Use a token that turns out to be good."""
    with access.lent() as token:
        return token


def be_refused(access: Access, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Use a token that the shop does not take, after *meanwhile*."""
    with access.lent():
        meanwhile()
        raise SourceRefused("401")


def test_a_token_is_kept_until_a_minute_before_its_end(seller: Platform, access: Access) -> None:
    sells(seller, "long", expires_in=3600)
    assert [use(access), use(access)] == ["long", "long"]

    assert len(seller.asked) == 1


def test_a_token_that_is_soon_too_old_is_not_kept(seller: Platform, access: Access) -> None:
    sells(seller, "short", expires_in=60)
    assert [use(access), use(access)] == ["short", "short"]

    assert len(seller.asked) == 2


def test_a_new_token_that_is_refused_is_a_refusal(seller: Platform, access: Access) -> None:
    sells(seller, "new")

    with pytest.raises(SourceRefused, match="401"):
        be_refused(access)


def test_a_good_token_that_is_refused_is_bought_anew(seller: Platform, access: Access) -> None:
    sells(seller, "old")
    use(access)

    sells(seller, "new")
    with pytest.raises(SourceDown, match="401"):
        be_refused(access)

    assert use(access) == "new"


def test_who_is_refused_after_another_has_bought_a_new_token_asks_again(
    seller: Platform, access: Access
) -> None:
    sells(seller, "old")
    use(access)
    sells(seller, "new")

    def another_is_faster() -> None:
        with pytest.raises(SourceDown):
            be_refused(access)
        assert use(access) == "new"

    with pytest.raises(SourceDown, match="401"):
        be_refused(access, another_is_faster)

    assert use(access) == "new"


@pytest.mark.parametrize(
    "body", [b"[1]", b"null", b"7", b"{}", b'{"access_token": 7}', b'{"access_token": ""}']
)
def test_an_answer_without_a_token_is_a_shop_that_is_down(
    seller: Platform, access: Access, body: bytes
) -> None:
    seller.answer = body

    with pytest.raises(SourceDown, match="no access token"):
        use(access)


@pytest.mark.parametrize("token", ["a\nb", "a b", "\u6f22"])
def test_what_no_header_can_hold_is_no_token(seller: Platform, access: Access, token: str) -> None:
    sells(seller, token)

    with pytest.raises(SourceDown, match="no access token"):
        use(access)
