"""Pages: what each shows, what they do with a stranger's text, and that they need nothing from elsewhere."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from pyrsia.errors import Refusal
from pyrsia.serve.desks.supply import LocalRow, NoLocal, NoUpstream, Supply
from pyrsia.serve.desks.views import Refused
from pyrsia.serve.finding import Finder, Found
from pyrsia.serve.pages import drawing, entries, home
from pyrsia.serve.pages.install import ways
from pyrsia.serve.pages.packages import FileView, by_version, newest
from pyrsia.wire.purl import parse
from tests.unit.serve.toy import NODE, REQUEST, ToyNode, serving, toy_app

EVIL = '<script>alert(1)</script>\x1b[31m\u202eevil"'
PAGES = [
    "/",
    "/search",
    "/search?q=idna",
    "/packages/pkg:pypi/idna",
    "/entries/7",
    f"/builds/{REQUEST}",
    "/node",
]


class Client(httpx.AsyncClient):
    node: ToyNode


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    node = ToyNode(tmp_path)
    node.publish("idna-3.10-py3-none-any.whl", b"a wheel")
    async with serving(toy_app(node)) as server, Client(base_url=server.url, timeout=20) as made:
        made.node = node
        yield made


@pytest.mark.parametrize("path", PAGES)
async def test_each_page_stands_alone_and_works_without_scripts(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert "<script" not in answer.text
    assert " style=" not in answer.text
    # Nothing is loaded from elsewhere: what is loaded at all is the one style sheet, and a badge of this node's.
    loaded = re.findall(r"<(?:link|img|iframe|object|source)[^>]*(?:href|src)=\"([^\"]+)", answer.text)
    assert [one for one in loaded if not one.startswith("/badge/")] == [drawing.style()[0]]
    assert '<meta name="viewport"' in answer.text
    again = await client.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_the_style_sheet_is_kept_for_ever_under_a_name_of_its_bytes(client: Client) -> None:
    answer = await client.get(drawing.style()[0])
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
    assert "prefers-color-scheme: dark" in answer.text
    assert "url(" not in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/packages/pkg:pypi/none", 404),
        ("/packages/no-purl", 404),
        ("/packages/", 404),
        ("/entries/120", 404),
        ("/entries/-1", 404),
        ("/entries/1e3", 404),
        ("/entries/" + "9" * 40, 404),
        ("/builds/" + "0" * 64, 404),
        (f"/builds/{REQUEST}/log?offset=x", 400),
        (f"/builds/{REQUEST}/log?builder=../etc", 400),
        (f"/builds/{REQUEST}/other", 404),
        ("/node/x", 404),
        ("/search?" + "&".join(f"a{i}=1" for i in range(50)), 400),
    ],
)
async def test_what_is_no_page_says_so_on_a_page(client: Client, path: str, status: int) -> None:
    answer = await client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<dt>do</dt>" in answer.text


async def test_a_package_s_page_tells_files_verdicts_builders_and_what_is_kept_back(client: Client) -> None:
    kept = client.node.publish("idna-3.9-py3-none-any.whl", b"an older wheel", agreeing=(NODE, "b" * 52))
    refusal = Refusal(
        "denied", what="two builders agree, three are wanted", who="this node's policy", do="wait"
    )
    client.node.kept_back[kept.sha256] = Refused(kept, refusal)
    text = (await client.get("/packages/pkg:pypi/idna")).text
    for words in (
        "idna-3.10-py3-none-any.whl",
        "REPRODUCED",
        "toy (o)",
        "bbbbbbbb",
        "Not given to clients",
        "three are wanted",
    ):
        assert words in text
    assert (
        f"pip install --index-url {client.base_url}/pypi/simple/ idna==3.10".replace("//pypi", "/pypi")
        in text
    )
    one = (await client.get("/packages/pkg:pypi/idna@3.9")).text
    assert "idna-3.9-py3" in one
    assert "idna-3.10-py3" not in one
    assert "pip install" not in one  # what is refused is not offered


async def test_search_finds_each_word_and_offers_a_build_for_what_is_not_there(client: Client) -> None:
    client.node.publish("idna_ssl-1.1-py3-none-any.whl", b"another wheel")
    found = (await client.get("/search?q=IDNA")).text
    assert found.index("pkg:pypi/idna<") < found.index("pkg:pypi/idna-ssl<")
    both = (await client.get("/search?q=idna+ssl")).text
    assert "pkg:pypi/idna<" not in both
    assert "pyrsia build request pkg:pypi/requests" in (await client.get("/search?q=requests")).text
    assert "&lt;b&gt;" in (await client.get("/search?q=%3Cb%3E")).text


async def test_a_finished_build_s_log_is_shown_in_parts(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await client.get(f"/builds/{REQUEST}/log?builder={NODE}&offset=9")
    assert answer.status_code == 200
    assert "and another" in answer.text
    assert "one line" not in answer.text

    async def running(request: str) -> object:
        return replaced

    build = await client.node.build(REQUEST)
    assert build is not None
    replaced = type(build)(REQUEST, build.purl, "revealing")
    monkeypatch.setattr(client.node, "build", running)
    hidden = await client.get(f"/builds/{REQUEST}/log")
    assert hidden.status_code == 409
    assert "one line" not in hidden.text


def test_strangers_text_is_text_on_every_page() -> None:
    file = FileView(EVIL, EVIL, EVIL, 1, 5, EVIL, 3, EVIL, EVIL, (EVIL,), (EVIL,), EVIL)
    refused = replace(file, refusal=Refusal("denied", what=EVIL, who=EVIL, do=EVIL))
    drawn = [
        drawing.draw("package", purl=EVIL, owner=EVIL, install=ways(parse("pkg:pypi/a"), EVIL, EVIL),
                     versions=by_version([file, refused]), history=(), known=None, about={}, past=False, badge="",
                     markdown="", as_of="", said=None, rows=(), more=""),
        drawing.draw("search", query=EVIL, as_of=EVIL, size=7, time_ms=2**60, first=0,
                     rows=[Found(EVIL, EVIL, EVIL, EVIL, (EVIL,), (EVIL,), EVIL)],
                     following=9, ask=EVIL),
        drawing.draw("refusal", refusal=refused.refusal),
        drawing.draw("log", purl=EVIL, request=EVIL, builder=EVIL, first=1, last=2, before=0, size=9, lines=[EVIL]),
        drawing.draw("entry", index=1, kind=EVIL, summary=EVIL, author=EVIL, time_ms=2**60, size=9, root=EVIL,
                     leaf_hash=EVIL, hashes=[EVIL], proof=[EVIL], links=[{"address": "/x", "text": EVIL}],
                     document=[EVIL], fact=None),
    ]  # fmt: skip
    for page in drawn:
        text = page.decode()
        assert "<script" not in text
        assert not {"\x1b", "\u202e"} & set(text)
        assert 'evil"' not in text


@pytest.mark.parametrize(
    ("purl", "version", "first"),
    [
        ("pkg:pypi/idna", "3.10", "pip install --index-url http://h:1/pypi/simple/ idna==3.10"),
        ("pkg:docker/library/alp", "3", "docker pull h:1/library/alp:3"),
        ("pkg:docker/alp", "sha256:" + "0" * 64, "docker pull h:1/alp@sha256:" + "0" * 64),
        ("pkg:conan/zlib", "1.3", "conan remote add pyrsia http://h:1/conan\n"
         "conan install --requires=zlib/1.3 -r pyrsia"),
        ("pkg:conan/me/stable/zlib", "1.3", "conan remote add pyrsia http://h:1/conan\n"
         "conan install --requires=zlib/1.3@me/stable -r pyrsia"),
        (f"pkg:generic/{NODE}/docker/app", "1", f"docker pull h:1/{NODE}/app:1"),
        (f"pkg:generic/{NODE}/pypi/app", "1", f"pip install --index-url http://h:1/pypi/{NODE}/simple/ app==1"),
    ],
)  # fmt: skip
def test_each_client_is_told_its_own_words(purl: str, version: str, first: str) -> None:
    assert ways(parse(purl), version, "http://h:1")[0].commands == first


@pytest.mark.parametrize(
    ("kind", "versions", "best"),
    [
        ("pypi", ["3.9", "3.10", "4.0rc1"], "3.10"),
        ("pypi", ["4.0rc1"], "4.0rc1"),
        ("maven", ["1.9", "1.10", "2.0-SNAPSHOT"], "1.10"),
        ("conan", ["1.2", "1.3"], "1.2"),
        ("pypi", [], ""),
        ("maven", [], ""),
    ],
)
def test_the_newest_version_is_the_one_to_install(kind: str, versions: list[str], best: str) -> None:
    assert newest(kind, versions) == best


def test_maven_s_users_get_a_dependency() -> None:
    text = ways(parse("pkg:maven/org.example/lib"), "1.0", "http://h:1")[0].commands
    assert "<groupId>org.example</groupId>" in text
    assert "http://h:1/maven2/" in text


async def test_what_was_pushed_here_is_found_and_marked(tmp_path: Path) -> None:
    class Own(NoLocal):
        def packages(self, start: str) -> list[str]:
            return ["pkg:pypi/mine"]

        def rows(self, package: str, start: str = "", *, most: int | None = None) -> list[LocalRow]:
            more = {"version": "1.0"}
            return [LocalRow(package, "files/mine-1.0.tar.gz", "ab" * 32, 3, 5, "ci", more)]

    found = await home.search(Finder(Supply(ToyNode(tmp_path), Own(), NoUpstream())), "mine", 0)
    page = drawing.draw("search", **found).decode()
    assert [(row.purl, row.versions) for row in found["rows"]] == [("pkg:pypi/mine", ("1.0",))]
    assert "pushed to this node" in page


async def test_a_search_goes_on_where_its_page_ended(client: Client) -> None:
    for number in range(150):
        client.node.publish(f"many{number:03}-1.0-py3-none-any.whl", b"%d" % number)

    first = (await client.get("/search?q=many")).text
    then = (await client.get("/search?q=many&first=100")).text

    assert first.count("<li>") == 100
    assert 'href="/search?q=many&amp;first=100"' in first
    assert then.count("<li>") == 50
    assert "first=200" not in then
    assert "That was all" in (await client.get("/search?q=many&first=500")).text
    for wrong in ("first=x", "first=-1", "q=" + "*a" * 6):
        assert (await client.get(f"/search?{wrong}")).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {"purl": 3, "request": 4},
        {"purl": "no", "request": "../x"},
        {"purl": "pkg:pypi/" + "a" * 400},
    ],
)
def test_an_entry_leads_nowhere_but_to_pages(body: object) -> None:
    assert entries.links({"body": body}) == []


def test_an_entry_leads_to_its_package_and_build() -> None:
    found = entries.links({"body": {"purl": "pkg:pypi/idna@3.10", "request": REQUEST}})
    assert [one["address"] for one in found] == ["/packages/pkg:pypi/idna", f"/builds/{REQUEST}"]
