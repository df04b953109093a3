"""The pages in a real browser: without scripts, on a phone and in the dark, and nobody else is asked for anything.

A toy node serves them: what they say is another test's business (tests/unit/serve/test_pages.py). `PYRSIA_SHOTS` names
a folder for pictures of what was seen.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from pyrsia.serve.desks.providing import (
    AdvisoryView,
    DescriptionView,
    LicenceView,
    RecheckView,
    SbomView,
)
from pyrsia.serve.http.server import listen_tcp, serve
from tests.unit.serve.toy import NODE, REQUEST, ToyNode, toy_app
from tests.unit.serve.toyknowledge import row

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install --group clients")

pytestmark = pytest.mark.clients
PAGES = {
    "home": "/",
    "search": "/search?q=idna",
    "package": "/packages/pkg:pypi/idna",
    "past": "/packages/pkg:pypi/idna?as_of=8",
    "facts": "/facts",
    "said": "/packages/pkg:pypi/contract-tools",
    "entry": "/entries/7",
    "build": f"/builds/{REQUEST}",
    "log": f"/builds/{REQUEST}/log?builder={NODE}",
    "node": "/node",
    "refusal": "/packages/pkg:pypi/none",
}
KNOWN = {
    "advisories": (
        AdvisoryView(
            "GHSA-jjg7-2v4v-x38h", ("CVE-2024-3651",), "high", "", "3.10 lies in [0, 3.11)", True, "3.11", "amber", 8,
            1_700_000_000_000, "A crafted name takes quadratic time.", (("birch", "not-affected", 9),),
        ),
    ),
    "licences": (LicenceView("BSD-3-Clause", "amber", 11),),
    "sboms": (SbomView("cyclonedx", "birch", 12, "ab" * 32),),
    "rechecks": (RecheckView("contradicts", "coral", 1_700_000_000_000, 13, "ab" * 32),),
    "status": "WITHDRAWN",
    "reason": "it leaks memory",
    "downloads": 1_234,
}  # fmt: skip
PHONE = {"width": 360, "height": 740}
TABLET = {"width": 900, "height": 1100}
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node in a thread of its own: the browser's driver has the main one."""
    node = ToyNode(tmp_path_factory.mktemp("pages"))
    long = "a" * 60
    node.publish("idna-3.10-py3-none-any.whl", b"a wheel", agreeing=(NODE, "b" * 52))
    node.publish(f"idna-3.9+{long}-py3-none-any.whl", b"a wheel with a long name")
    node.provider.about["pkg:pypi/idna@3.10"] = KNOWN
    node.provider.more["descriptions"] = (
        DescriptionView(
            "pkg:pypi/idna", "amber", 5, 3, "Domain names beyond ASCII", ("dns", "names"), "https://x.example"
        ),
    )
    node.knowledge.rows = [
        row(7, "advisory", advisory="GHSA-jjg7-2v4v-x38h", severity="high"),
        row(6, "licence", expression="BSD-3-Clause"),
        row(5, "recheck", "sha256:" + "ab" * 32, outcome="contradicts"),
        replace(
            row(
                4,
                "commit-signature",
                "pkg:pypi/contract-tools",
                commit="ab" * 20,
                good=True,
                valid_from=1 << 41,
            ),
            state="to-come",
        ),
        replace(row(3, "licence", f"pkg:generic/{NODE}/pypi/{long}@1.0", expression="MIT"), text=long * 4),
    ]
    with in_thread(node) as url:
        yield url


@contextmanager
def in_thread(node: ToyNode) -> Iterator[str]:
    told: list[str] = []
    ready, over = threading.Event(), threading.Event()

    async def run() -> None:
        listener = await listen_tcp("127.0.0.1", 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, toy_app(node), [listener])
            told.append(listener.name)
            ready.set()
            await trio.to_thread.run_sync(over.wait, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    assert ready.wait(20)
    try:
        yield told[0]
    finally:
        over.set()
        thread.join(20)


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium; apt-get install chromium")
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, TABLET, DESK], ids=["phone", "tablet", "desk"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_screen_and_asks_nobody_else(
    address: str, browser: "sync_api.Browser", name: str, size: "sync_api.ViewportSize", scheme: str
) -> None:
    asked: list[str] = []
    context = browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=False)
    try:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address + PAGES[name])
        wide = page.evaluate("document.documentElement.scrollWidth")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        heading = page.locator("h1").first.bounding_box()
        if folder := os.environ.get("PYRSIA_SHOTS"):
            page.screenshot(path=Path(folder) / f"{name}-{size['width']}-{scheme}.png", full_page=True)
    finally:
        context.close()
    assert wide <= size["width"], "something is wider than the screen"
    assert heading is not None
    assert heading["x"] >= 0
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)")
    assert asked[0] == address + PAGES[name]
    assert all(
        url.startswith((f"{address}/style-", f"{address}/favicon", f"{address}/badge/")) for url in asked[1:]
    )


@pytest.mark.parametrize("width", [900, 1200])
def test_a_package_s_name_is_on_one_line_where_there_is_room(
    address: str, browser: "sync_api.Browser", width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(address + PAGES["facts"])
        boxes = page.evaluate(
            "[...document.querySelectorAll('td.about a')].filter(one => one.textContent.length < 26)"
            ".map(one => new Set([...one.getClientRects()].map(line => line.top)).size)"
        )
    finally:
        context.close()
    assert boxes
    assert set(boxes) == {1}


def test_every_word_can_be_read_in_both_schemes(address: str, browser: "sync_api.Browser") -> None:
    """The contrast of text with its ground is at least 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport=DESK, color_scheme=scheme)
        try:
            page = context.new_page()
            page.goto(address + PAGES["package"])
            colours = page.evaluate(
                "[...document.querySelectorAll('h1, dt, dd, a, .verdict, .faint, code, footer')]"
                ".map(one => getComputedStyle(one).color)"
            )
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        finally:
            context.close()
        assert len(set(colours)) > 3
        for colour in set(colours):
            assert contrast(colour, ground) >= 4.5, (scheme, colour)


def contrast(first: str, second: str) -> float:
    """Of two `rgb(r, g, b)`."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
