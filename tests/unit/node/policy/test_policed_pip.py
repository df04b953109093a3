"""A package index over a real log and a real policy file: what pip is told, and that nobody else is asked for it.

Upstream is reachable and holds the very bytes that are refused; it counts what it is asked.
"""

from contextlib import asynccontextmanager

import httpx
import pytest

from pyrsia.policy.modes import PROXY, mode_of
from pyrsia.serve.app import build_app
from pyrsia.serve.desks.supply import NoLocal, Supply
from pyrsia.serve.guard import Guard
from tests.reference.story import WHEEL
from tests.unit.node.policy.test_policing import Policed
from tests.unit.node.policy.test_policing import clock as clock
from tests.unit.node.policy.test_policing import shelf as shelf
from tests.unit.node.policy.test_policing import story as story
from tests.unit.serve.pypi_toys import ToyIndex
from tests.unit.serve.toy import TOKEN, ToyNode, serving

JSON = {"accept": "application/vnd.pypi.simple.v1+json"}


class Upstream(ToyIndex):
    """Asked where the real policy's mode is `proxy`."""

    policing = None

    def takes(self, package):
        return mode_of(self.policing.policy, "pip") == PROXY

    def proxies(self, ecosystem):
        return mode_of(self.policing.policy, ecosystem) == PROXY


class Place:
    """A node's port, its policy, and its upstream."""

    def __init__(self, policed, story, folder):
        self.policed, self.story = policed, story
        self.upstream = Upstream(folder)
        self.upstream.policing = policed.policing
        (policed.catalog._shelf.folder / story.sha256).write_bytes(story.data)  # the bytes are here as well
        self.node = ToyNode(folder)

    def holds(self, **files):
        self.upstream.list("idna", **files)

    @asynccontextmanager
    async def asked(self):
        app = build_app(
            guard=Guard(control_token=TOKEN),
            supply=Supply(self.policed.catalog, NoLocal(), self.upstream),
            log_view=self.node,
            admin=self.node,
        )
        async with serving(app) as server, httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            yield client

    @property
    def file(self):
        return f"/pypi/files/{self.story.sha256}/{WHEEL}"


@pytest.fixture
def place(story, shelf, clock, tmp_path):
    made = Place(Policed(story, shelf, clock, tmp_path / "policy.toml"), story, tmp_path)
    made.holds(**{"idna-1__0-py3-none-any__whl": story.data})
    return made


async def test_what_the_default_policy_allows_is_given(place):
    async with place.asked() as client:
        (file,) = (await client.get("/pypi/simple/idna/", headers=JSON)).json()["files"]
        answer = await client.get(place.file)
    assert (file["hashes"]["sha256"], answer.content) == (place.story.sha256, place.story.data)
    assert place.upstream.asked == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[pip]\ndeny = ["pkg:pypi/idna"]', "deny names it: pkg:pypi/idna"),
        ('[all]\noperators = ["somebody else"]', "0 trusted operators agree, 2 must"),
        ("[all]\nmin_age_days = 30", "30 days are the least"),
        ('[pip]\nupstream = ["equivalent"]', "upstream"),
    ],
)
async def test_what_is_refused_is_told_in_the_reason_phrase_and_nobody_is_asked_for_it(place, text, told):
    place.policed.say(text)
    async with place.asked() as client:
        page = await client.get("/pypi/simple/idna/", headers=JSON)
        for path in (place.file, place.file + ".metadata"):
            answer = await client.get(path)
            assert answer.status_code == 403
            assert told in answer.reason_phrase
            assert place.story.data not in answer.content
    assert all(row.get("yanked") is not True for row in page.json().get("files", ()))
    assert place.upstream.asked == []
    assert place.policed.catalog._shelf.asked == []


async def test_in_proxy_mode_too_a_refused_version_of_the_log_is_never_taken_from_upstream(place):
    place.policed.say('[pip]\nmode = "proxy"\ndeny = ["pkg:pypi/idna@1.0"]')
    async with place.asked() as client:
        page = (await client.get("/pypi/simple/idna/", headers=JSON)).json()
        answer = await client.get(place.file)
    assert (answer.status_code, "deny names it" in answer.reason_phrase) == (403, True)
    assert [row["hashes"]["sha256"] for row in page["files"]] in ([], [place.story.sha256])
    assert not any(path.startswith("https://files.example") for path in place.upstream.asked)


async def test_a_change_of_the_file_changes_the_page_and_back(place):
    async with place.asked() as client:

        async def given():
            return (await client.get(place.file)).status_code

        assert await given() == 200
        place.policed.say('[pip]\ndeny = ["*"]')
        assert await given() == 403
        place.policed.say("[pip]\ndeny = [")  # broken: the rules before it stay
        assert await given() == 403
        place.policed.say("")
        assert await given() == 200
