"""Pages of packages by their owner: the log's, this node's shelf, upstream's; refusals on them; files behind them."""

from html.parser import HTMLParser
from pathlib import Path

import httpx
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.pip.simple import IndexFile, Project, parse
from pyrsia.errors import Refusal
from pyrsia.serve.desks.supply import Document
from pyrsia.serve.pypi import HTML, JSON
from pyrsia.serve.pypi import theirs as theirs_module
from pyrsia.serve.pypi.app import INLINE_FILES
from pyrsia.serve.pypi.listing import of_network, of_upstream, proxied
from pyrsia.serve.pypi.names import release
from pyrsia.serve.pypi.pages import Item, Page, project_html, project_json
from pyrsia.units import Limit
from tests.unit.serve.pypi_toys import HELD, INDEX, digest, place, refuse
from tests.unit.serve.toy import toy_wheel

# -- the network's --


async def test_a_name_of_the_network_is_verified_and_tracks_the_index_that_its_purl_means(
    tmp_path: Path,
) -> None:
    async with place(tmp_path) as here:
        here.node.publish("idna-3.10-py3-none-any.whl", b"wheel")
        page = await here.page("idna")

    assert page["verified"] == "yes"
    assert page["meta"] == {"api-version": "1.4", "tracks": ["https://pypi.org/simple/idna/"]}
    assert page["project-status"] == {"status": "active"}
    assert page["files"][0]["_pyrsia"]["origin"] == "network"


async def test_a_refused_file_is_yanked_with_the_reason_beside_usable_ones_and_gives_it_when_asked(
    tmp_path: Path,
) -> None:
    async with place(tmp_path, proxy=False) as here:
        here.node.publish("a-1-py3-none-any.whl", b"one")
        bad = here.node.publish("a-2-py3-none-any.whl", b"two", b"METADATA")
        refuse(here.node, bad, "withdrawn", "a 2 was withdrawn: its key leaked")
        page = await here.page("a")
        got = [
            await here.client.get(f"/pypi/files/{bad.sha256}/{bad.filename}{suffix}")
            for suffix in ("", ".metadata")
        ]
        html = (await here.client.get("/pypi/simple/a/")).text

    assert [(one["filename"], one["yanked"]) for one in page["files"]] == [
        ("a-1-py3-none-any.whl", False),
        ("a-2-py3-none-any.whl", "a 2 was withdrawn: its key leaked"),
    ]
    assert page["versions"] == ["1", "2"]
    assert page["project-status"] == {"status": "active"}
    assert page["files"][1]["_pyrsia"]["refused"]["code"] == "withdrawn"
    assert 'data-yanked="a 2 was withdrawn: its key leaked"' in html
    for answer in got:
        assert (answer.status_code, answer.reason_phrase) == (410, "a 2 was withdrawn: its key leaked")
        assert b"two" not in answer.content


async def test_a_project_of_refused_files_alone_is_quarantined_and_tells_why_at_each_file(
    tmp_path: Path,
) -> None:
    async with place(tmp_path) as here:
        bad = here.node.publish("a-1-py3-none-any.whl", b"one")
        refuse(here.node, bad, "denied", "policy refuses pkg:pypi/a@1")
        page = await here.page("a")
        html = (await here.client.get("/pypi/simple/a/")).text
        got = await here.client.get(f"/pypi/files/{bad.sha256}/{bad.filename}")

    assert page["project-status"] == {"status": "quarantined", "reason": "policy refuses pkg:pypi/a@1"}
    assert [one["yanked"] for one in page["files"]] == [False]
    assert '<meta name="pypi:project-status" content="quarantined">' in html
    assert (got.status_code, got.reason_phrase) == (403, "policy refuses pkg:pypi/a@1")
    # Refused by policy is owned all the same: upstream adds versions, never a file of this one.
    assert here.upstream.asked == ["a/", "a/"]


# -- upstream's --


async def test_upstream_adds_versions_that_the_network_does_not_hold_and_marks_them(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.node.publish("a-1.0-py3-none-any.whl", b"ours")
        denied = here.node.publish("a-3.0-py3-none-any.whl", b"denied")
        refuse(here.node, denied)
        here.upstream.list("a", a_1_0=b"theirs", a_2_0=b"new", a_3_0=b"dodge", a_3_00=b"the same version")
        page = await here.page("a")
        added = page["files"][2]
        url = f"/pypi/simple/a/{added['url']}"
        got = await here.client.get(url)
        dodged = [
            await here.client.get(f"/pypi/proxied/a/{digest(data)}/{name}")
            for data, name in (
                (b"dodge", "a-3.0-py3-none-any.whl"),
                (b"the same version", "a-3.00-py3-none-any.whl"),
                (b"theirs", "a-1.0-py3-none-any.whl"),
            )
        ]

    assert [(one["filename"], one["_pyrsia"]["origin"]) for one in page["files"]] == [
        ("a-1.0-py3-none-any.whl", "network"),
        ("a-3.0-py3-none-any.whl", "network"),
        ("a-2.0-py3-none-any.whl", "proxied"),
    ]
    assert page["verified"] == "no"
    assert added["url"].startswith("../../proxied/a/")
    assert (got.content, got.headers["x-pyrsia-verified"]) == (b"new", "no")
    assert [answer.status_code for answer in dodged] == [404, 404, 404]
    assert {one for one in here.upstream.asked if one.startswith(HELD)} == {f"{HELD}/a-2.0-py3-none-any.whl"}
    assert all(one.closed for one in here.upstream.opened)


async def test_a_name_that_nobody_here_has_is_upstreams_in_both_forms(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.upstream.list(
            "b",
            b_1_0=(b"x", {"requires-python": ">=3", "yanked": "bad", "upload-time": "2024-01-01T00:00:00Z"}),
        )
        page = await here.page("b")
        html = await here.client.get("/pypi/simple/b/", headers={"accept": HTML})
        names = (await here.client.get("/pypi/simple/", headers={"accept": JSON})).json()["projects"]

    (file,) = page["files"]
    assert (file["requires-python"], file["yanked"], file["size"]) == (">=3", "yanked upstream", 1)
    assert file["upload-time"] == "2024-01-01T00:00:00.000Z"
    assert (page["verified"], html.headers["x-pyrsia-verified"]) == ("no", "no")
    assert 'data-pyrsia-verdict="unverified"' in html.text
    assert names == []  # what upstream has is not this node's list


async def test_bytes_that_are_not_those_of_upstreams_page_never_become_a_whole_answer(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.upstream.list("b", b_1_0=b"what the page says")
        here.upstream.files[f"{HELD}/b-1.0-py3-none-any.whl"] = b"what the host gives"
        page = await here.page("b")
        with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
            await here.client.get(f"/pypi/simple/b/{page['files'][0]['url']}")
        assert [one.closed for one in here.upstream.opened] == [1]


async def test_metadata_beside_a_wheel_is_passed_on_with_its_own_digest(tmp_path: Path) -> None:
    metadata = b"Metadata-Version: 2.1\nName: b\nVersion: 1.0\n"
    async with place(tmp_path) as here:
        here.upstream.list("b", b_1_0=(b"x", {"core-metadata": {"sha256": digest(metadata)}}), b_2_0=b"y")
        here.upstream.files[f"{HELD}/b-1.0-py3-none-any.whl.metadata"] = metadata
        first, second = (await here.page("b"))["files"]
        got = await here.client.get(f"/pypi/simple/b/{first['url']}.metadata")
        none = await here.client.get(f"/pypi/simple/b/{second['url']}.metadata")

    assert (first["core-metadata"], second["core-metadata"]) == ({"sha256": digest(metadata)}, False)
    assert got.content == metadata
    assert here.upstream.opened[0].sha256 == digest(metadata)
    assert none.status_code == 404


async def test_where_upstream_is_down_the_networks_page_stands_and_upstreams_own_says_so(
    tmp_path: Path,
) -> None:
    async with place(tmp_path) as here:
        here.node.publish("a-1.0-py3-none-any.whl", b"ours")
        here.upstream.down = True
        page = await here.page("a")
        other = await here.client.get("/pypi/simple/b/")

    assert (len(page["files"]), page["verified"]) == (1, "yes")
    assert (other.status_code, other.json()["error"]["code"]) == (502, "index-unreachable")


async def test_an_upstream_that_hangs_does_not_keep_the_networks_page_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object, **__: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(theirs_module, "PATIENCE_S", Limit(0, "a test"))
    async with place(tmp_path) as here:
        here.node.publish("a-1.0-py3-none-any.whl", b"ours")
        monkeypatch.setattr(here.upstream, "document", hang)
        page = await here.page("a")
    assert (len(page["files"]), page["verified"]) == (1, "yes")


async def test_outside_of_the_mode_a_name_is_a_quick_404_and_upstream_is_asked_nothing(
    tmp_path: Path,
) -> None:
    async with place(tmp_path, proxy=False) as here:
        here.upstream.list("b", b_1_0=b"x")
        here.node.publish("a-1.0-py3-none-any.whl", b"ours")
        await here.page("a")
        missing = await here.client.get("/pypi/simple/b/")
        file = await here.client.get(f"/pypi/proxied/b/{digest(b'x')}/b-1.0-py3-none-any.whl")

    assert (missing.status_code, file.status_code) == (404, 404)
    assert missing.json()["error"]["do"].endswith("pyrsia build request b")
    assert here.upstream.asked == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", JSON),
        (b"[]", JSON),
        (b'{"meta":{"api-version":"9.0"},"files":[]}', JSON),
        (b"[" * 100_000, JSON),
        (b'{"meta":{"api-version":"1.0"},"files":{}}', JSON),
    ],
)
async def test_a_page_of_upstreams_that_is_none_is_a_502_and_no_500(
    tmp_path: Path, body: bytes, kind: str
) -> None:
    async with place(tmp_path) as here:
        here.upstream.pages["b"] = Document(body, kind, url=f"{INDEX}/b/")
        answer = await here.client.get("/pypi/simple/b/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "index-unreachable")


async def test_a_page_of_upstreams_is_read_again_only_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counting(body: bytes, kind: str, url: str, name: str, index: str) -> Project:
        read.append(name)
        return parse(body, kind, url, name, index)

    monkeypatch.setattr("pyrsia.builds.pip.simple.parse", counting)
    async with place(tmp_path) as here:
        here.upstream.list("b", b_1_0=b"x")
        pages = [await here.page("b") for _ in range(3)]
        here.upstream.list("b", b_1_0=b"x", b_1_1=b"y")
        newer = await here.page("b")

    assert read == ["b", "b"]
    assert [len(page["files"]) for page in [*pages, newer]] == [1, 1, 1, 2]


# -- provenance --


def file_of(filename: str, data: bytes, provenance: str = "") -> IndexFile:
    return IndexFile(filename, f"{HELD}/{filename}", digest(data), len(data), provenance=provenance)


@pytest.mark.parametrize(
    ("upstream", "theirs", "told"),
    [
        ("identical", b"ours", True),
        ("equivalent", b"ours", True),
        ("identical", b"other bytes", False),
        ("different", b"other bytes", False),
    ],
)
async def test_provenance_of_upstream_stands_beside_its_very_bytes_and_no_others(
    tmp_path: Path, upstream: str, theirs: bytes, told: bool
) -> None:
    link = "https://pypi.org/integrity/a/1.0/a-1.0-py3-none-any.whl/provenance"
    async with place(tmp_path) as here:
        here.node.publish("a-1.0-py3-none-any.whl", b"ours", upstream=upstream)
        here.upstream.list("a", a_1_0=(theirs, {"provenance": link}))
        (file,) = (await here.page("a"))["files"]
    assert file.get("provenance") == (link if told else None)


@pytest.mark.parametrize(
    "link", ["http://x/", "javascript:1", "https://x/ y", "https://x/\n", 5, None, "https://" + "x" * 3_000]
)
def test_a_provenance_that_is_no_https_address_is_left_out(link: object) -> None:
    body = {"meta": {"api-version": "1.3"}, "files": [
        {"filename": "a-1.0-py3-none-any.whl", "url": "x", "hashes": {"sha256": "ab" * 32}, "provenance": link}
    ]}  # fmt: skip
    (file,) = parse(msgspec.json.encode(body), JSON, f"{INDEX}/a/", "a", INDEX).files
    assert file.provenance == ""


# -- the shelf's --


async def test_a_local_name_shows_what_was_pushed_and_nothing_else(tmp_path: Path) -> None:
    filename, data, metadata = toy_wheel("acme", "1.0")
    async with place(tmp_path) as here:
        here.upstream.list("acme", acme_9_0=b"confusion")
        pushed = await here.push(await here.token(), filename, data)
        here.node.publish("acme-9.0-py3-none-any.whl", b"of the network, later")
        page = await here.page("acme")
        (file,) = page["files"]
        got = await here.client.get(f"/pypi/simple/acme/{file['url']}")
        told = await here.client.get(f"/pypi/simple/acme/{file['url']}.metadata")
        names = (await here.client.get("/pypi/simple/", headers={"accept": JSON})).json()["projects"]
        confused = await here.client.get(
            f"/pypi/proxied/acme/{digest(b'confusion')}/acme-9.0-py3-none-any.whl"
        )
        wrong = await here.client.get(f"/pypi/local/acme/{'0' * 64}/{filename}")

    assert pushed.status_code == 200, pushed.text
    assert (page["verified"], page["meta"], page["versions"]) == ("local", {"api-version": "1.4"}, ["1.0"])
    assert (file["requires-python"], file["core-metadata"]) == (">=3.8", {"sha256": digest(metadata)})
    assert file["_pyrsia"]["origin"] == "local"
    assert (got.content, got.headers["x-pyrsia-verified"]) == (data, "local")
    assert (told.content, told.headers["x-pyrsia-verified"]) == (metadata, "local")
    assert names == [{"name": "acme"}]
    assert (confused.status_code, wrong.status_code) == (404, 404)
    assert here.upstream.asked == []


async def test_a_push_is_on_the_page_at_once_and_a_page_that_did_not_change_is_a_304(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        token = await here.token()
        await here.push(token, *toy_wheel("acme", "1.0")[:2])
        first = await here.client.get("/pypi/simple/acme/")
        same = await here.client.get("/pypi/simple/acme/", headers={"if-none-match": first.headers["etag"]})
        await here.push(token, *toy_wheel("acme", "1.1")[:2])
        newer = await here.client.get("/pypi/simple/acme/", headers={"if-none-match": first.headers["etag"]})

    assert (same.status_code, newer.status_code) == (304, 200)
    assert (first.headers["cache-control"], first.headers["vary"]) == ("no-cache", "Accept")
    assert "acme-1.1-py3-none-any.whl" in newer.text


async def test_policy_refuses_what_was_pushed_at_the_page_the_file_and_its_metadata(tmp_path: Path) -> None:
    async with place(tmp_path, proxy=False) as here:
        token, denied = await here.token(), ["1.0"]
        for version in ("1.0", "2.0"):
            await here.push(token, *toy_wheel("acme", version)[:2])

        def judge(purl: str) -> Refusal | None:
            no = Refusal("denied", what=f"policy refuses {purl}", who="policy", do="ask")
            return no if purl.rpartition("@")[2] in denied else None

        here.supply.local.judge = judge  # type: ignore[attr-defined] # the real shelf
        page = await here.page("acme")
        got = [
            await here.client.get(f"/pypi/simple/acme/{file['url']}{suffix}")
            for file in page["files"]
            for suffix in ("", ".metadata")
        ]
        denied.append("2.0")
        here.node.publish("other-1-py3-none-any.whl", b"x")  # the revision of the network moves with policy
        all_denied = await here.page("acme")

    assert [file["yanked"] for file in page["files"]] == ["policy refuses pkg:pypi/acme@1.0", False]
    assert [answer.status_code for answer in got] == [403, 403, 200, 200]
    assert got[0].reason_phrase == "policy refuses pkg:pypi/acme@1.0"
    assert all_denied["project-status"]["status"] == "quarantined"
    assert [file["yanked"] for file in all_denied["files"]] == [False, False]


async def test_a_page_of_many_files_is_made_aside_and_never_kept_for_another_moment(tmp_path: Path) -> None:
    async with place(tmp_path, proxy=False) as here:
        for number in range(INLINE_FILES.value + 1):
            here.node.publish(f"many-1.{number}-py3-none-any.whl", b"%d" % number)
        pages: list[int] = []

        async def ask() -> None:
            pages.append(len((await here.page("many"))["files"]))

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(ask)
                await trio.lowlevel.checkpoint()
                here.node.publish(f"many-2.{number}-py3-none-any.whl", b"later %d" % number)
        last = len((await here.page("many"))["files"])

    assert last == INLINE_FILES.value + 5
    assert all(INLINE_FILES.value < count <= last for count in pages)


async def test_a_damaged_wheel_on_the_shelf_gives_no_metadata(tmp_path: Path) -> None:
    filename, data, _ = toy_wheel("acme", "1.0")
    async with place(tmp_path) as here:
        await here.push(await here.token(), filename, data)
        path = here.supply.local.path(digest(data))
        assert path is not None
        path.write_bytes(b"x" * len(data))
        answer = await here.client.get(f"/pypi/local/acme/{digest(data)}/{filename}.metadata")
    assert (answer.status_code, answer.json()["error"]["who"]) == (503, "this node's disk")


@pytest.mark.parametrize(
    "path",
    ["local/acme/x/y", "local/ACME/{0}/acme-1.0-py3-none-any.whl", "local/%2e%2e/{0}/x", "proxied/a/{0}/x",
     "proxied/A/{0}/x", "proxied//{0}/", "local/acme/{0}/", "{1}/local/acme/{0}/x", "legacy", "legacy/x"],
)  # fmt: skip
async def test_what_there_is_not_is_a_404(tmp_path: Path, path: str) -> None:
    async with place(tmp_path) as here:
        answer = await here.client.get("/pypi/" + path.format("ab" * 32, "a" * 52))
    assert answer.status_code == 404


# -- the lie, not only the truth --

NAMES = st.sampled_from(
    [f"{one}-py3-none-any.whl" for one in ("a-1.0", "a-1", "A-2", "a-2.0-1", "b-3.0")]
    + ["a-2.0.tar.gz", "a-9.egg", "a.whl", "a-x.tar.gz"]
)


@given(st.lists(NAMES), st.sets(st.sampled_from(["1.0", "1", "2.0", "2", "9"])))
def test_upstream_never_gives_a_file_of_a_version_that_is_held_nor_of_another_name(
    names: list[str], held: set[str]
) -> None:
    listed = Project("a", INDEX, tuple(file_of(name, b"x") for name in names))
    for file in proxied("a", listed, held):
        known = release(file.filename)
        assert known is not None
        assert known[0] == "a"
        assert known[1] not in held


def test_a_file_of_upstreams_without_a_digest_is_left_out() -> None:
    listed = Project("a", INDEX, (IndexFile("a-1.0-py3-none-any.whl", f"{HELD}/a-1.0-py3-none-any.whl"),))
    assert of_upstream("a", listed).items == ()
    assert of_network("a", (), (), listed).items == ()


class Anchors(HTMLParser):
    """The oracle: what a reader of HTML sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_words_of_strangers_leave_their_attribute(reason: str, link: str) -> None:
    item = Item("a-1.0.tar.gz", "../x", "ab" * 32, "1.0", "words", yanked=reason, provenance=link)
    reader = Anchors()
    reader.feed(project_html(Page("a", (item,), "no", status="quarantined", reason=reason)).decode())
    wanted = {"href": f"../x#sha256={'ab' * 32}", "data-pyrsia-verdict": "words"}
    wanted |= {"data-yanked": reason} if reason else {}
    wanted |= {"data-provenance": link} if link else {}

    assert [tag for tag, _ in reader.seen] == [
        *("html", "head", "meta", "meta", "meta", "meta", "title", "body", "h1", "a", "br")
    ]
    assert [attrs for tag, attrs in reader.seen if tag == "a"] == [wanted]
    assert {"name": "pypi:project-status-reason", "content": reason} in [attrs for _, attrs in reader.seen]
    assert project_json(Page("a", (item,), "no"))  # which encodes whatever it is
