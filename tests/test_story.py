"""The story of a cart, in words."""

import pytest

from proxy import facts, story


@pytest.mark.parametrize("kind", sorted(facts.kinds()))
def test_whatever_came_in_has_words_of_its_own(kind: str) -> None:
    assert kind in story.KINDS


def test_what_a_later_version_has_kept_is_told_by_its_kind() -> None:
    assert story.kind_in_words("telegram") == "telegram"
