"""Tokens: shown once, kept as hashes, in force as long as they were made for, and no longer."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.node import tokens as module
from pyrsia.node.tokens import Tokens
from pyrsia.serve.desks.tokens import TokenOrder
from pyrsia.serve.grants import ADMIN, PUSH, READ
from pyrsia.store import layout
from pyrsia.store.rocks import Database
from pyrsia.units import Limit

DAY_MS = 86_400_000


class Clock:
    ms = 1_000_000

    def __call__(self):
        return self.ms


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(tmp_path):
    opened = Database.open(tmp_path / "db")
    yield opened
    opened.close()


@pytest.fixture
def tokens(database, clock):
    return Tokens(database, now_ms=clock)


async def refused(awaitable):
    with pytest.raises(Refusal) as caught:
        await awaitable
    return caught.value.code


@pytest.mark.parametrize("scope", [READ, PUSH, ADMIN])
async def test_a_token_allows_what_it_was_made_for_after_a_restart_too(database, clock, scope):
    pattern = "pkg:pypi/acme-*" if scope == PUSH else ""
    made = await Tokens(database, now_ms=clock).make(TokenOrder(scope, pattern, "ci"))

    grant = Tokens(database, now_ms=clock).grant(made.token)

    assert (grant.name, grant.scope, grant.pattern) == ("ci", scope, pattern)
    assert grant.pushes("pkg:pypi/acme-lib") is (scope != READ)
    assert grant.pushes("pkg:pypi/other") is (scope == ADMIN)


async def test_no_secret_is_on_the_disk(tmp_path, clock):
    database = Database.open(tmp_path / "db")
    made = await Tokens(database, now_ms=clock).make(TokenOrder(READ))
    rows = database.scan(layout.TOKENS, b"", 10)
    database.close()
    secret = made.token.split("_", 2)[2].encode()  # which may have a "_" of its own

    assert len(rows) == 1
    assert len(secret) == 43
    assert not any(secret in path.read_bytes() for path in (tmp_path / "db").iterdir() if path.is_file())


async def test_a_token_ends_after_ninety_days_by_itself_or_at_the_end_that_was_given(tokens, clock, database):
    long, short = await tokens.make(TokenOrder(READ)), await tokens.make(TokenOrder(READ, expires_s=3_600))
    clock.ms += 3_600_000 - 1
    assert tokens.grant(short.token) is not None
    clock.ms += 1
    assert tokens.grant(short.token) is None
    assert [row.id for row in tokens.list()] == [long.status.id]
    clock.ms = 1_000_000 + 90 * DAY_MS - 1
    assert tokens.grant(long.token) is not None
    clock.ms += 1
    assert tokens.grant(long.token) is None
    assert tokens.list() == []

    await tokens.make(TokenOrder(READ))
    assert len(database.scan(layout.TOKENS, b"", 10)) == 1  # expired ones are forgotten


@pytest.mark.parametrize("by", ["name", "id"])
async def test_a_revoked_token_is_nobodys_at_once_and_after_a_restart(tokens, database, clock, by):
    made, other = await tokens.make(TokenOrder(PUSH, name="ci")), await tokens.make(TokenOrder(PUSH))

    await tokens.revoke(getattr(made.status, by))

    assert tokens.grant(made.token) is None
    assert tokens.grant(other.token) is not None
    again = Tokens(database, now_ms=clock)
    assert again.grant(made.token) is None
    assert again.grant(other.token) is not None
    assert await refused(tokens.revoke("ci")) == "not-found"


async def test_a_token_with_one_wrong_letter_is_nobodys_and_counted(tokens):
    made = await tokens.make(TokenOrder(ADMIN))
    for at in range(len(made.token)):
        wrong = made.token[:at] + ("b" if made.token[at] == "a" else "a") + made.token[at + 1 :]
        assert tokens.grant(wrong) is None
    assert tokens.failures == len(made.token)
    assert tokens.list()[0].used_ms == 0
    assert tokens.grant(made.token).scope == ADMIN
    assert tokens.list()[0].used_ms == 1_000_000


@given(st.text(max_size=80))
def test_no_text_of_a_stranger_is_a_token(text):
    class Empty:
        def scan(self, *_):
            return []

    assert Tokens(Empty()).grant(text) is None


async def test_the_secret_of_one_token_with_the_id_of_another_is_nobodys(tokens):
    reader, ruler = await tokens.make(TokenOrder(READ)), await tokens.make(TokenOrder(ADMIN))
    mixed = f"pyr_{ruler.status.id}_{reader.token.split('_', 2)[2]}"
    assert tokens.grant(mixed) is None


@pytest.mark.parametrize(
    "order",
    [
        TokenOrder(PUSH, "maven/org.example"),
        TokenOrder(PUSH, "pkg:pypi/acme@1.0"),
        TokenOrder(PUSH, "pkg:pypi/" + "*" * 17),
        TokenOrder(READ, "pkg:pypi/acme"),
        TokenOrder(ADMIN, "pkg:pypi/acme"),
        TokenOrder(PUSH, name="a b"),
        TokenOrder(PUSH, name="../etc"),
        TokenOrder(PUSH, name="a" * 65),
        TokenOrder(PUSH, name="-x"),
        TokenOrder(PUSH, name="control"),  # whose pushes are the operator's own
    ],
)
async def test_a_pattern_that_limits_nothing_and_a_name_that_is_none_are_refused(tokens, order):
    assert await refused(tokens.make(order)) == "bad-request"
    assert tokens.list() == []


@pytest.mark.parametrize(
    ("pattern", "right"),
    [
        ("pkg:conan/libstdc++", "pkg:conan/libstdc%2B%2B"),
        ("pkg:conan/lib*c++", "pkg:conan/lib*c%2B%2B"),
        ("pkg:conan/Zlib", "pkg:conan/zlib"),
        ("pkg:pypi/My_Pkg", "pkg:pypi/my-pkg"),
        ("pkg:pypi/acme.*", "pkg:pypi/acme-*"),
        ("pkg:docker/Team/*", "pkg:docker/team/*"),
        ("pkg:docker/docker.io/team/*", "pkg:docker/team/*"),
        ("pkg:docker/docker.io/library/alpine", "pkg:docker/alpine"),
        ("pkg:docker/dockerhub/docker.io/team/app", "pkg:docker/team/app"),
        ("pkg:docker/library/*", "pkg:docker/alpine"),
        ("pkg:maven/org.acme", "pkg:maven/org.acme/*"),
        ("pkg:pypi", "pkg:pypi/*"),
        ("pkg:npm/left-pad", "pkg:pypi/*"),
    ],
)
async def test_a_pattern_that_no_package_could_match_is_refused_with_the_one_that_does(
    tokens, pattern, right
):
    with pytest.raises(Refusal) as caught:
        await tokens.make(TokenOrder(PUSH, pattern))
    assert caught.value.code == "bad-request"
    assert right in caught.value.do.split()
    made = await tokens.make(TokenOrder(PUSH, right))
    assert tokens.grant(made.token).pattern == right


@pytest.mark.parametrize(
    "pattern",
    ["*", "pkg:*", "pkg:p*", "pkg:*/acme-*", "pkg:pypi/*", "pkg:maven/Org.Acme/*", "pkg:maven/org.acme/my_lib",
     "pkg:docker/ghcr.io/team/*", "pkg:docker/library/team/*", "pkg:docker/te?m", "pkg:conan/acme/stable/lib_a"],
)  # fmt: skip
async def test_patterns_that_packages_do_match_are_taken(tokens, pattern):
    assert tokens.grant((await tokens.make(TokenOrder(PUSH, pattern))).token).pattern == pattern


async def test_a_name_is_given_once_and_tokens_have_a_bound(tokens, monkeypatch):
    monkeypatch.setattr(module, "MAX_TOKENS", Limit(2, "a test"))
    first = await tokens.make(TokenOrder(READ, name="ci"))
    assert await refused(tokens.make(TokenOrder(READ, name="ci"))) == "conflict"
    assert await refused(tokens.make(TokenOrder(READ, name=first.status.id))) == "conflict"
    await tokens.make(TokenOrder(READ))
    assert await refused(tokens.make(TokenOrder(READ))) == "too-large"
    await tokens.revoke("ci")
    await tokens.make(TokenOrder(READ, name="ci"))


async def test_ids_and_secrets_are_drawn_from_the_systems_randomness(tokens, monkeypatch):
    asked = []
    urlsafe = secrets.token_urlsafe
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: asked.append(size) or urlsafe(size))
    made = {(await tokens.make(TokenOrder(READ))).token for _ in range(20)}
    assert len(made) == 20
    assert set(asked) == {32}  # 256 bits
