"""What is known, on pages: advisories, licences, withdrawals, as-of, facts; and that strangers' words stay words."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from pyrsia.serve.desks.knowing import NEWEST, AsOf
from pyrsia.serve.desks.providing import (
    AdvisoryView,
    DescriptionView,
    LicenceView,
    MappingView,
    RecheckView,
    SbomView,
    VersionView,
)
from pyrsia.serve.desks.views import Inclusion
from pyrsia.serve.pages import drawing, facts
from tests.unit.serve.test_pages import EVIL
from tests.unit.serve.toy import ToyNode, serving, toy_app
from tests.unit.serve.toyknowledge import row

PURL = "pkg:pypi/idna@3.10"
ADVISORY = AdvisoryView(
    "GHSA-1", ("CVE-2024-1",), "critical", "", "3.10 lies in [0, 3.11)", True, "3.11", "amber", 8,
    1_700_000_000_000, "it eats memory", (("birch", "not-affected", 9),),
)  # fmt: skip


class Client(httpx.AsyncClient):
    node: ToyNode


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    node = ToyNode(tmp_path)
    node.publish("idna-3.10-py3-none-any.whl", b"a wheel")
    async with serving(toy_app(node)) as server, Client(base_url=server.url, timeout=20) as made:
        made.node = node
        yield made


async def test_a_version_tells_advisories_licences_sboms_and_who_built_it_again(client: Client) -> None:
    client.node.provider.about[PURL] = {
        "advisories": (ADVISORY, replace_unsure(ADVISORY)),
        "licences": (LicenceView("BSD-3-Clause", "amber", 11),),
        "sboms": (SbomView("cyclonedx", "birch", 12, "ab" * 32),),
        "rechecks": (RecheckView("contradicts", "coral", 1_700_000_000_000, 13, "ab" * 32),),
        "downloads": 1_234,
    }
    text = (await client.get("/packages/pkg:pypi/idna")).text
    for words in (
        '<a href="/entries/8">GHSA-1</a>', "CVE-2024-1", "critical", "3.11", "amber", "it eats memory",
        'birch: <a href="/entries/9">not-affected</a>', "it cannot be compared, so it counts",
        "BSD-3-Clause", '<a href="/entries/12">cyclonedx</a>', "contradicts", "coral", "1,234",
        "https://example.org/idna", "2023-11-14",
    ):  # fmt: skip
        assert words in text, words


def replace_unsure(one: AdvisoryView) -> AdvisoryView:
    return AdvisoryView("GHSA-2", (), "unknown", "", one.why, False, "", one.issuer, 10, 0)


async def test_a_withdrawn_version_says_why_beside_its_badge_and_its_markdown(client: Client) -> None:
    client.node.provider.about[PURL] = {"status": "WITHDRAWN", "reason": "leaks memory"}
    text = (await client.get("/packages/pkg:pypi/idna")).text
    assert "<strong>WITHDRAWN</strong>: leaks memory" in text
    assert '<img src="/badge/pypi/idna.svg"' in text
    assert f"[![Pyrsia: verdict]({client.base_url}/badge/pypi/idna.svg)]".replace("//badge", "/badge") in text


@pytest.mark.parametrize(
    ("asked", "at"),
    [
        ("9", AsOf(size=9)),
        ("2026-01-31", AsOf(time_ms=1_769_817_600_000)),
        ("2026-01-31T01:00+01:00", AsOf(time_ms=1_769_817_600_000)),
        ("", AsOf()),
    ],
)
async def test_the_form_asks_for_a_moment_and_the_page_says_which(
    client: Client, asked: str, at: AsOf
) -> None:
    answer = await client.get("/packages/pkg:pypi/idna", params={"as_of": asked})
    assert answer.status_code == 200
    assert client.node.provider.asked[-1] == ("pkg:pypi/idna", at)
    assert ("What was known when the log had" in answer.text) is bool(asked)
    assert '<input name="as_of"' in answer.text


@pytest.mark.parametrize("asked", ["yesterday", "-1", "9" * 40, "121", "1900-01-01", "\u0661\u0662", "<b>"])
async def test_what_is_no_moment_is_a_page_that_says_so(client: Client, asked: str) -> None:
    answer = await client.get("/packages/pkg:pypi/idna", params={"as_of": asked})
    assert answer.status_code == 400
    assert "<dt>do</dt>" in answer.text
    assert "<b>" not in answer.text


async def test_before_it_was_published_a_version_was_not_in_the_log(client: Client) -> None:
    client.node.publish("idna-3.11-py3-none-any.whl", b"later")
    text = (await client.get("/packages/pkg:pypi/idna?as_of=8")).text
    assert "Not in the log then." in text


async def test_facts_come_newest_first_by_kind_and_go_on_behind_a_link(client: Client) -> None:
    desk = client.node.knowledge
    desk.rows = [row(7, "advisory", advisory="CVE-1", severity="high"), row(5, "licence", expression="MIT")]
    text = (await client.get("/facts?kind=advisory&as_of=30")).text

    assert desk.asked[-1] == ("newest", AsOf(size=30), "advisory", None, 50, NEWEST)
    assert "<strong>CVE-1, high</strong>" in text
    assert '<a href="/packages/pkg:pypi/idna">pkg:pypi/<wbr>idna</a>' in text
    assert '<option value="advisory" selected>' in text


@pytest.mark.parametrize(
    "query", ["kind=nonsense", "first=x", "first=-1", "as_of=never", "kind=%3Cscript%3E"]
)
async def test_a_page_of_facts_that_there_is_not(client: Client, query: str) -> None:
    answer = await client.get(f"/facts?{query}")
    assert answer.status_code == 400
    assert "<script" not in answer.text


async def test_an_entry_that_is_a_fact_reads_as_one(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def prove(index: int) -> Inclusion:
        entry = (
            '{"author":"a","body":{"advisory":"GHSA-1","aliases":["CVE-1"],"kind":"advisory","range":[{"fixed":"3.7",'
            '"introduced":"0"},{"introduced":"9"}],"severity":"high","subject":"pkg:pypi/idna","supersedes":"ab",'
            '"text":"eats <b>memory</b>","valid_from":1700000000000},"type":"fact.add","v":1}'
        )
        return Inclusion(index, 120, "00" * 32, "11" * 32, ("22" * 32,), entry)

    monkeypatch.setattr(client.node, "prove", prove)
    text = (await client.get("/entries/7")).text
    for words in (
        "<strong>advisory</strong> of", "[0, 3.7), [9, ...)", "<dt>severity</dt><dd>high</dd>", "<dd>CVE-1</dd>",
        "<blockquote>eats &lt;b&gt;memory&lt;/b&gt;</blockquote>", "2023-11-14", "in place of",
        '<a href="/packages/pkg:pypi/idna">',
    ):  # fmt: skip
        assert words in text, words


def test_strangers_words_are_words_on_each_of_them() -> None:
    advisory = AdvisoryView(
        EVIL, (EVIL,), EVIL, EVIL, EVIL, False, EVIL, EVIL, 8, 2**60, EVIL, ((EVIL, EVIL, 9),)
    )
    version = VersionView(
        EVIL, EVIL, EVIL, "WITHDRAWN", EVIL, 5, (), (advisory,), (LicenceView(EVIL, EVIL, 1),),
        (SbomView(EVIL, EVIL, 1, EVIL),), (RecheckView(EVIL, EVIL, 5, 1, EVIL),), EVIL, 3,
    )  # fmt: skip
    known = Known(
        whole=False, size=3, time_ms=4, mapping=MappingView(EVIL, EVIL, (EVIL,), 3), versions=(version,),
        descriptions=(DescriptionView(EVIL, EVIL, 5, 3, EVIL, (EVIL,), EVIL, EVIL, EVIL),),
    )  # fmt: skip
    body = {"kind": EVIL, "subject": EVIL, "text": EVIL, "valid_from": 2**60, "x" + EVIL: [EVIL, {EVIL: True}],
            "range": [{"introduced": EVIL, "last": EVIL}, EVIL], "versions": [EVIL], "supersedes": EVIL}  # fmt: skip
    said = replace_row(row(7, "description", EVIL, tags=[EVIL], homepage="javascript:alert(1)"))
    unsaid = {"as_of": EVIL, "said": None, "rows": (), "more": ""}
    drawn = [
        drawing.draw("package", purl=EVIL, owner="", install=(), versions=[Shown(EVIL)], history=(), known=known,
                     about={EVIL: version}, past=True, badge="/badge/x.svg", markdown=EVIL, **unsaid),
        drawing.draw("package", purl=EVIL, owner="", install=(), versions=(), history=(), known=None, about={},
                     past=True, badge="", markdown="", as_of=EVIL, rows=[said], more="/x",
                     said=Known(size=3, time_ms=4, whole=False)),
        drawing.draw("facts", kind="", kinds=("advisory",), as_of=EVIL, size=3, whole=False, rows=[said], more="/x",
                     of=EVIL),
        drawing.draw("entry", index=1, kind=EVIL, summary=EVIL, author=EVIL, time_ms=5, size=9, root=EVIL,
                     leaf_hash=EVIL, hashes=[], proof=[], links=[], document=[], fact=facts.told(body)),
    ]  # fmt: skip
    for page in drawn:
        text = page.decode()
        assert "<script" not in text
        assert not {"\x1b", "\u202e"} & set(text)
        assert 'evil"' not in text
        assert 'href="javascript' not in text


@pytest.mark.parametrize(
    ("tags", "homepage", "namespace", "told"),
    [
        ((), "https://a.example", "", '<p class="faint"><code>https://a.example</code></p>'),
        (("dns",), "https://a.example", "b", "dns · <code>https://a.example</code> · b</p>"),
        ((), "", "b", '<p class="faint">b</p>'),
    ],
)
def test_what_a_description_names_is_parted_and_nothing_stands_before_the_first(
    tags: tuple[str, ...], homepage: str, namespace: str, told: str
) -> None:
    said = DescriptionView(PURL, "amber", 5, 3, "a text", tags, homepage, namespace, "")
    known = Known(whole=True, size=3, time_ms=4, mapping=None, versions=(), descriptions=(said,))
    page = drawing.draw("package", purl=PURL, owner="", install=(), versions=[], history=(), known=known, about={},
                        past=False, badge="", markdown="", as_of="", said=None, rows=(), more="")  # fmt: skip
    assert told in page.decode()


class Known:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Shown:
    files = ()

    def __init__(self, version: str) -> None:
        self.version = version


def replace_row(one: Any) -> dict[str, Any]:
    told = facts.row(one)
    return {**told, "text": EVIL, "by": EVIL, "state": EVIL}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"range": "x", "versions": 3},
        {"range": [3], "valid_from": "x", "kind": None},
        {"range": 5},
        {"range": None, "versions": None},
    ],
)
def test_a_body_of_whatever_shape_is_told(body: dict[str, Any]) -> None:
    page = drawing.draw(
        "entry", index=1, kind="", summary="", author="", time_ms=5, size=9, root="", leaf_hash="", hashes=[],
        proof=[], links=[], document=[], fact=facts.told(body),
    )  # fmt: skip
    assert b"What it says" in page


async def test_a_search_of_a_moment_goes_on_at_that_moment(client: Client) -> None:
    for number in range(105):
        client.node.publish(f"many{number:03}-1.0-py3-none-any.whl", b"%d" % number)
    now = (await client.get("/search?q=many")).text
    assert "What the log had" not in now
    assert "as_of=" not in now
    page = (await client.get("/search?q=many&as_of=110")).text
    assert client.node.provider.asked[-1] == ("", AsOf(size=110))
    for words in (
        "What the log had at 110 entries", "2023-11-14", 'href="/packages/pkg:pypi/many000?as_of=110"',
        "withdrawn or disputed: 0.1", 'href="/search?q=many&amp;first=100&amp;as_of=110"',
        'name="as_of" value="110"',
    ):  # fmt: skip
        assert words in page
    rest = (await client.get("/search?q=many&as_of=110&first=100")).text
    assert rest.count("<li>") == 2  # leaves 8 to 109, and one that is called otherwise
    assert "No package had this in its name then" in (await client.get("/search?q=many&as_of=2")).text
    await client.get("/search?q=many&as_of=2026-01-31")
    assert client.node.provider.asked[-1] == ("", AsOf(time_ms=1_769_817_600_000))


async def test_the_nodes_page_tells_members_of_a_moment(client: Client) -> None:
    assert "Those of the log" not in (await client.get("/node")).text
    page = (await client.get("/node?as_of=9")).text
    assert "Those of the log&#39;s first 9 entries" in page or "Those of the log's first 9 entries" in page
    assert 'name="as_of" value="9"' in page


@pytest.mark.parametrize("path", ["/search?q=x&", "/node?", "/packages/pkg:pypi/idna?", "/facts?"])
@pytest.mark.parametrize("as_of", ["soon", "-1", "9" * 17, "1969-12-31", "%3Cscript%3E"])
async def test_what_is_no_moment_is_refused_by_every_page_that_has_one(
    client: Client, path: str, as_of: str
) -> None:
    answer = await client.get(f"{path}as_of={as_of}")
    assert answer.status_code == 400
    assert "2026-01-31" in answer.text
    assert "<script>" not in answer.text


async def test_a_span_ago_is_a_moment_on_pages_too(client: Client) -> None:
    now_ms = int(time.time() * 1_000)  # whole, as the page's: a fraction may be more than its next one
    await client.get("/search?q=x&as_of=2h")
    [(_, at)] = client.node.provider.asked
    assert at.time_ms is not None
    assert 7_100_000 < now_ms - at.time_ms <= 7_200_000


@pytest.mark.parametrize("path", ["/", "/entries/1", "/builds/" + "a" * 64])
async def test_a_page_of_now_alone_refuses_a_moment_rather_than_leaving_it_out(
    client: Client, path: str
) -> None:
    answer = await client.get(f"{path}?as_of=9")
    assert answer.status_code == 400
    assert "now alone" in answer.text


FORESEEN = row(
    6, "advisory", "pkg:pypi/bulk-one", advisory="CVE-3", severity="low", range=[{"introduced": "0", "fixed": "0.4"}],
    valid_from=1_893_456_000_000,
)  # fmt: skip


async def test_what_nobody_built_has_a_page_of_what_is_said_of_it(client: Client) -> None:
    """Every fact of an import leads to one; what nobody speaks of, and what is no package, still has none."""
    client.node.knowledge.rows = [msgspec.structs.replace(FORESEEN, state="to-come")]
    answer = await client.get("/packages/pkg:pypi/bulk-one")
    assert answer.status_code == 200
    for words in (
        "Nobody built it",
        "<strong>CVE-3, low</strong> [0, 0.4)",
        '<span class="bad">to-come</span> <span class="bad">',
        "2030-01-01</span>",
        "toy (aaaaaaaa)",
    ):
        assert words in answer.text, words
    link = (
        (await client.get("/facts"))
        .text.partition('<td class="about"')[2]
        .partition('href="')[2]
        .partition('"')[0]
    )
    assert (link, (await client.get(link)).status_code) == ("/packages/pkg:pypi/bulk-one", 200)
    then = await client.get("/packages/pkg:pypi/bulk-one?as_of=8")
    assert "This is what is said of it when the log had 8 entries" in then.text
    assert '<input name="as_of" value="8"' in then.text
    for nothing in ("/packages/pkg:pypi/never", "/packages/nothing"):
        assert (await client.get(nothing)).status_code == 404


async def test_a_moment_before_anything_was_said_is_a_page_too(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = client.node.knowledge
    desk.rows, now = [FORESEEN], desk.facts

    async def facts_at(subject: str, at: AsOf, **rest: Any) -> Any:
        page = await now(subject, at, **rest)
        return page if at == AsOf() else msgspec.structs.replace(page, facts=())

    monkeypatch.setattr(desk, "facts", facts_at)
    answer = await client.get("/packages/pkg:pypi/bulk-one?as_of=8")
    assert (answer.status_code, "Nothing was said of it then." in answer.text) == (200, True)


async def test_facts_about_one_thing_go_on_and_a_file_s_lead_there(client: Client) -> None:
    file = f"sha256:{'6b' * 32}"
    client.node.knowledge.rows = [row(7, "commit-signature", file, commit="ab" * 20, good=True)]
    text = (await client.get("/facts")).text
    assert f'href="/facts?of=sha256%3A{"6b" * 32}"' in text
    assert f"{'ab' * 20}, good signature" in text
    text = (await client.get("/facts", params={"of": file})).text
    assert client.node.knowledge.asked[-1] == ("facts", file, AsOf(), "", 0, 50)
    assert "oldest first" in text
    assert f'<input type="hidden" name="of" value="{file}">' in text
    assert (await client.get("/facts", params={"of": "no purl"})).status_code == 400


async def test_a_past_page_s_badge_is_of_then_and_what_is_of_now_says_so(client: Client) -> None:
    text = (await client.get("/packages/pkg:pypi/idna?as_of=90")).text
    assert text.index("What was known when the log had") < text.index("/badge/pypi/idna.svg?as_of=90")
    assert "<dt>verdict now</dt>" in text
    assert '<input name="as_of" value="90"' in text
    assert "<dt>verdict</dt>" in (await client.get("/packages/pkg:pypi/idna")).text


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("use 0.4, or add X to `accept`", "Use 0.4, or add X to <code>accept</code>"),
        ("a <b> and `<i>`", "A &lt;b&gt; and <code>&lt;i&gt;</code>"),
        ("one ` alone", "One ` alone"),
        ("", ""),
    ],
)
def test_a_sentence_of_a_refusal_is_prose(text: str, drawn: str) -> None:
    assert drawing._prose(text, True) == drawn
