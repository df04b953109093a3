"""A disk that gives no copies of upstream's takes away what upstream adds, and nothing of the network's own."""

import json

import pytest

from pyrsia.builds.pip import simple
from pyrsia.errors import Unavailable
from pyrsia.serve.desks.supply import NoUpstream
from pyrsia.serve.maven.proxied import told_sha1
from pyrsia.serve.pypi import listing, pages
from pyrsia.serve.pypi.theirs import Theirs


class Broken(NoUpstream):
    def takes(self, package):
        return True

    async def document(self, package, path, *, accept="", most=0):
        raise Unavailable("unverified copies cannot be kept or read: disk I/O error")


async def test_upstream_s_copies_that_cannot_be_read_add_nothing():
    assert await Theirs(Broken()).quietly("six") is None
    assert await told_sha1(Broken(), "pkg:maven/org.acme/lib", "org/acme/lib/1/lib-1.jar") == ""
    with pytest.raises(Unavailable):  # where nobody else has the name it is told
        await Theirs(Broken()).page("six")


@pytest.mark.parametrize(
    ("more", "listed"),
    [
        ({"requires-python": ">=3"}, 1),
        ({"requires-python": ">=3,\n\t<4"}, 1),
        ({"requires-python": "\ud800"}, 0),
        ({"requires-python": ">=3\0"}, 0),
        ({"url": "https://x/\ud800.whl"}, 0),
        ({"size": 1 << 70}, 1),
        ({"provenance": "https://x/\ud800"}, 1),
    ],
)
def test_what_no_page_can_say_is_left_off_it(more, listed):
    file = {"filename": "six-2.0-py3-none-any.whl", "url": "https://x/a.whl", "hashes": {"sha256": "0" * 64}}
    said = json.dumps({"meta": {"api-version": "1.0"}, "name": "six", "files": [{**file, **more}]}).encode()
    theirs = simple.parse(said, simple.ACCEPT.partition(",")[0], "https://x/simple/six/", "six", "")
    page = listing.of_network("six", [], [], theirs)
    assert len(page.items) == listed
    for form in (pages.project_json, pages.project_html):
        form(page)
