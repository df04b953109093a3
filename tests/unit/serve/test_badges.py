"""Badges: honest words, whole SVG whatever the words are, and colours that can be read."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.serve import badges
from pyrsia.serve.badges import Badge
from pyrsia.serve.desks.knowing import AsOf
from pyrsia.serve.desks.providing import AdvisoryView, FileView, LicenceView, Overview, VersionView
from pyrsia.serve.pages import badge as badge_module
from pyrsia.serve.pages.badge import FRESH_S, Badges
from pyrsia.units import Limit
from tests.unit.serve.test_apps import asking
from tests.unit.serve.toy import NODE, ToyNode

SVG = "{http://www.w3.org/2000/svg}"
PURL = "pkg:pypi/idna"
MARKUP = set("<>&\"'")


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    made = ToyNode(tmp_path)
    made.publish("idna-3.10-py3-none-any.whl", b"a wheel", agreeing=(NODE, "b" * 52))
    return made


def version(status: str = "REPRODUCED", *, agreeing: int = 3, **more: Any) -> VersionView:
    builders = tuple(f"b{i}" for i in range(agreeing))
    file = FileView("f", "ab" * 32, 1, status, status, "", builders, (), 5, 7, "", 4)
    return VersionView(f"{PURL}@1", "1", status, status, "", 5, (file,), downloads=4, **more)


def overview(*versions: VersionView, whole: bool = True) -> Overview:
    return Overview(PURL, PURL, 9, 5, whole, versions, downloads=1_234)


def advisory(severity: str) -> AdvisoryView:
    return AdvisoryView("GHSA-1", (), severity, "", "1 lies in [0, 2)", True, "2", "amber", 8, 5)


@pytest.mark.parametrize(
    ("status", "words", "colour"),
    [
        ("REPRODUCED", "REPRODUCED by 3", badges.GREEN),
        ("EQUIVALENT", "EQUIVALENT by 3", badges.GREEN),
        ("WITNESSED", "WITNESSED, not rebuilt", badges.AMBER),
        ("DISPUTED", "DISPUTED", badges.RED),
        ("WITHDRAWN", "WITHDRAWN", badges.RED),
    ],
)
def test_a_verdict_says_what_was_done_and_no_more(status: str, words: str, colour: str) -> None:
    assert badges.of(overview(version(status)), "verdict") == Badge("pyrsia", words, colour)


def test_of_files_with_unlike_builders_the_fewest_count() -> None:
    one, two = version(agreeing=3), version(agreeing=2)
    both = VersionView(one.purl, "1", "REPRODUCED", "REPRODUCED", "", 5, one.files + two.files)
    assert badges.of(overview(both), "verdict").word == "REPRODUCED by 2"


@pytest.mark.parametrize(
    ("more", "whole", "words"),
    [
        ((), True, "none known"),
        ((), False, "not all read yet"),  # silence is no clean bill
        ((advisory("low"),), True, "1 advisory, worst low"),
        ((advisory("low"), advisory("critical")), False, "2 advisories, worst critical"),
    ],
)
def test_advisories_are_counted_and_silence_is_told_from_ignorance(
    more: tuple[AdvisoryView, ...], whole: bool, words: str
) -> None:
    worst = more[-1].severity if more else ""
    found = badges.of(overview(version(advisories=more, worst=worst), whole=whole), "advisories")
    assert found.word == words


def test_licences_downloads_and_what_nobody_said() -> None:
    mit, gpl = LicenceView("MIT", "amber", 3), LicenceView("GPL-3.0-only", "birch", 4)
    assert badges.of(overview(version(licences=(mit,))), "licence").word == "MIT"
    assert badges.of(overview(version(licences=(mit, gpl))), "licence").word == "authors disagree"
    assert badges.of(overview(version()), "licence").word == "unknown"
    assert badges.of(overview(version()), "downloads").word == "1,234 from this node"
    assert badges.of(overview(), "verdict").word == "unknown"


@given(label=st.text(), word=st.text(), colour=st.sampled_from([badges.GREEN, badges.RED]))
def test_whatever_the_words_are_the_badge_is_whole_svg_that_can_do_nothing(
    label: str, word: str, colour: str
) -> None:
    drawn = badges.draw(Badge(label, word, colour))

    root = ElementTree.fromstring(drawn)  # noqa: S314 (our own bytes, which is the point)
    tags = [one.tag.removeprefix(SVG) for one in root.iter()]
    assert tags == ["svg", "title", "rect", "rect", "g", "text", "text"]
    assert {name for one in root.iter() for name in one.attrib} <= {
        "width", "height", "role", "aria-label", "x", "y", "fill", "text-anchor", "font-family", "font-size",
        "textLength",
    }  # fmt: skip
    assert root.attrib["role"] == "img"
    assert root.find(f"{SVG}title").text == root.attrib["aria-label"]  # type: ignore[union-attr]
    assert len(drawn) < 4_000
    assert not set(drawn.decode()) & {"\x1b", "\u202e", "\x00"}


def test_hostile_words_are_words() -> None:
    drawn = badges.draw(
        Badge('"><script>alert(1)</script>', "\u202eevil\x1b]0;x & <b onload=x>", badges.RED)
    ).decode()
    assert "<script" not in drawn
    assert "<b" not in drawn
    assert "&lt;script&gt;" in drawn


def test_white_on_each_colour_has_the_contrast_that_people_need() -> None:
    for colour in (badges.GREY, badges.GREEN, badges.AMBER, badges.RED, badges.BLUE):
        assert (1.0 + 0.05) / (_luminance(colour) + 0.05) >= 4.5, colour


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# -- as a node serves them --


async def test_a_badge_is_served_short_lived_with_a_validator_and_a_policy(node: ToyNode) -> None:
    async with asking(node) as client:
        answer = await client.get("/badge/pypi/idna@3.10.svg")
        again = await client.get(
            "/badge/pypi/idna@3.10.svg", headers={"if-none-match": answer.headers["etag"]}
        )
        head = await client.head("/badge/pypi/idna.svg")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "REPRODUCED by 2" in answer.text
    assert (again.status_code, again.content) == (304, b"")
    assert (head.status_code, head.content) == (200, b"")
    assert node.provider.asked[0][0] == "pkg:pypi/idna@3.10"


@pytest.mark.parametrize(
    "path",
    [
        "/badge/pypi/none.svg",
        "/badge/pypi/idna@9.svg",
        "/badge/pypi/idna",
        "/badge/",
        "/badge/..%2f..%2fetc.svg",
        "/badge/pypi/<script>.svg",
        "/badge/" + "a" * 3_000 + ".svg",
    ],
)
async def test_what_the_log_does_not_know_is_a_badge_that_says_unknown(node: ToyNode, path: str) -> None:
    async with asking(node) as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "unknown" in answer.text
    assert "script" not in answer.text


async def test_a_badge_of_a_moment_says_what_the_log_said_then_and_is_remembered_apart(node: ToyNode) -> None:
    async with asking(node) as client:
        for query in ("", "?as_of=9", "?as_of=9", "?as_of=2026-01-31"):
            assert (await client.get(f"/badge/pypi/idna.svg{query}")).status_code == 200
        assert [at for _, at in node.provider.asked] == [
            AsOf(), AsOf(size=9), AsOf(time_ms=1_769_817_600_000)
        ]  # fmt: skip
        assert (await client.get("/badge/pypi/idna.svg?as_of=7")).status_code == 404  # it was not there
        for wrong in ("soon", "121", "-1"):
            assert (await client.get(f"/badge/pypi/idna.svg?as_of={wrong}")).status_code == 400


def test_markdown_of_a_moment_names_its_size_for_ever() -> None:
    assert badges.markdown(PURL, "http://h", "licence", 40) == (
        "[![Pyrsia: licence](http://h/badge/pypi/idna.svg?metric=licence&as_of=40)]"
        "(http://h/packages/pkg:pypi/idna?as_of=40)"
    )


async def test_no_such_metric_is_a_refusal_and_strangers_need_a_token_as_for_pages(node: ToyNode) -> None:
    async with asking(node) as client:
        assert (await client.get("/badge/pypi/idna.svg?metric=beauty")).status_code == 400
        assert (await client.post("/badge/pypi/idna.svg")).status_code in (401, 405)
        foreign = await client.get("/badge/pypi/idna.svg", headers={"host": "evil.example"})
    assert foreign.status_code == 421


async def test_a_thousand_readers_of_one_page_cost_one_look_and_what_changes_shows_soon(
    node: ToyNode,
) -> None:
    now = [0.0]
    desk, sent = Badges(node, lambda: now[0]), []

    async def send(event: Any) -> None:
        sent.append(event.get("body", b""))

    async def ask() -> bytes:
        await desk.send({"method": "GET", "headers": []}, send, "pypi/idna.svg", {})
        return bytes(sent[-1])

    for _ in range(1_000):
        assert b"REPRODUCED by 2" in await ask()
    assert len(node.provider.asked) == 1
    node.provider.about["pkg:pypi/idna@3.10"] = {"status": "WITHDRAWN"}
    now[0] += FRESH_S.value
    assert b"WITHDRAWN" in await ask()


async def test_names_that_strangers_make_up_take_no_room(
    node: ToyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(_: Any) -> None:
        pass

    monkeypatch.setattr(badge_module, "REMEMBERED", Limit(2, "for this test"))
    desk = Badges(node, lambda: 0.0)
    for path in ("pypi/none.svg", "x", "pypi/idna.svg", "pypi/idna@3.10.svg", "pypi/idna.svg"):
        for metric in ("verdict", "licence"):
            await desk.send({"method": "GET", "headers": []}, send, path, {"metric": metric})
    assert len(desk._said) <= 2
    assert all(purl.startswith("pkg:pypi/idna") for purl, *_ in desk._said)


def test_the_markdown_leads_to_the_page_and_quotes_what_an_address_cannot_hold() -> None:
    assert badges.markdown("pkg:pypi/idna", "https://n.example", "verdict") == (
        "[![Pyrsia: verdict](https://n.example/badge/pypi/idna.svg)](https://n.example/packages/pkg:pypi/idna)"
    )
    assert "/badge/pypi/a@1%252Bx.svg?metric=licence" in badges.markdown(
        "pkg:pypi/a@1%2Bx", "http://h", "licence"
    )
