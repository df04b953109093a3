"""Targets of requests from inside: one spelling for a path, and no way up or out."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.outbound.target import Target, parse
from pyrsia.errors import Malformed


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/r/a", "a"),
        ("/r/simple/a/", "simple/a/"),
        ("/r/info/refs?service=git-upload-pack", "info/refs?service=git-upload-pack"),
        ("/r/v2/conans/zlib/1.3/_/_/search?q=a%2fb", "v2/conans/zlib/1.3/_/_/search?q=a%2Fb"),
        ("/r/a%2bb%7e%61", "a%2Bb~a"),
        ("/r/a..b/...", "a..b/..."),
    ],
)
def test_a_plain_path_has_one_spelling(raw, path):
    assert parse(raw.encode()) == Target("r", path)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"*", b"r/a", b"http://127.0.0.1/r/a", b"//r/a", b"/r", b"/r/", b"/r//a", b"/r/a//b", b"/r/../a", b"/r/.",
        b"/r/%2e%2e/a", b"/r/%2E./a", b"/r/.%2e/a", b"/r/a%2fb", b"/r/a%5cb", b"/r/a%00", b"/r/a%0a", b"/r/a%",
        b"/r/a%2", b"/r/a%252e", b"/r/a%25", b"/r/a\\b", b"/r/a#b", b"/r/a b", b"/r/\xc3\xa9", b"/R/a", b"/r_/a",
        b"/-r/a", b"/../r/a", b"/%72/a", b"/r/a?b#c", b"/r/a?b\\c", b"/r/" + b"a" * 2_000, b"/r/a?" + b"%zz",
    ],
)  # fmt: skip
def test_every_trick_is_refused(raw):
    with pytest.raises(Malformed):
        parse(raw)


@given(
    st.binary(max_size=60)
    | st.text("/r.%25eEfF\\?#~a:@", max_size=40).map(lambda text: b"/r/" + text.encode())
)
def test_whatever_passes_stays_below_its_remote_and_says_the_same_when_read_again(raw):
    try:
        found = parse(raw)
    except Malformed:
        return
    path = found.path.partition("?")[0]
    parts = path.rstrip("/").split("/")
    assert all(unquote(part) not in ("", ".", "..") and "/" not in unquote(part) for part in parts)
    assert parse(f"/{found.remote}/{found.path}".encode()) == found
