"""Lines: where in the settings file what stands, however it is written."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy import lines

TEXT = """\
# [shops.none]
[shops.tea]
origins = [
    "https://tea.example",  # ] = [
    "https://www.tea.example",
]
metric = '''
[shops.none]
consent = "no key"
'''
carts.source = "http"
carts.request = { path = "/", headers.Authorization = "Bearer {key}" }

[ shops . "a.b" ]
"consent" = "off"
'settle'=30

[[more]]
"""


def test_each_table_and_each_key_has_the_line_where_it_is_first_said() -> None:
    found = lines.of(TEXT)

    assert found == {
        ("shops",): 2,
        ("shops", "tea"): 2,
        ("shops", "tea", "origins"): 3,
        ("shops", "tea", "metric"): 7,
        ("shops", "tea", "carts"): 11,
        ("shops", "tea", "carts", "source"): 11,
        ("shops", "tea", "carts", "request"): 12,
        ("shops", "tea", "carts", "request", "path"): 12,
        ("shops", "tea", "carts", "request", "headers"): 12,
        ("shops", "tea", "carts", "request", "headers", "Authorization"): 12,
        ("shops", "a.b"): 14,
        ("shops", "a.b", "consent"): 15,
        ("shops", "a.b", "settle"): 16,
        ("more",): 18,
    }


def test_the_line_breaks_of_windows_are_line_breaks() -> None:
    assert lines.of(TEXT.replace("\n", "\r\n")) == lines.of(TEXT)


NAMES = st.text("ab.\"' ", min_size=1, max_size=3)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, st.lists(st.text("[]#\n'\"=ab")))))
def test_no_key_is_left_out(said: dict[str, dict[str, Any]]) -> None:
    text = "".join(
        f"[{_quoted(table)}]\n"
        + "".join(f"{_quoted(key)} = {_array(key_value)}\n" for key, key_value in members.items())
        for table, members in said.items()
    )
    assert tomllib.loads(text) == said

    found = lines.of(text)

    assert set(found) == {(table,) for table in said} | {
        (table, key) for table, members in said.items() for key in members
    }


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _array(items: list[str]) -> str:
    return "[\n" + "".join(f"    {_quoted(item)}, # ]\n" for item in items) + "]"
