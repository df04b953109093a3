"""The node's half of sources from git: what is configured, which tag is asked for, what is the same source."""

from contextlib import AsyncExitStack

import pytest

from pyrsia.builds.model import NamedFile
from pyrsia.builds.sources import packing
from pyrsia.builds.sources.git import GitArchive, GitHosts, GitSources, plain_tag, same, tag_of
from pyrsia.errors import Refusal
from pyrsia.ledger.bodies.builds import _SOURCE


class Weak:
    """A runner of a sandbox that gives no way out."""

    isolation = "confined"

    def running(self, _):
        return self


def archive(tmp_path, **change):
    fields = {
        "file": NamedFile("thing-1.0.tar", tmp_path / "x"),
        "sha256": "ab" * 32,
        "size": 7,
        "commit": "cd" * 20,
        "tag": "v1.0",
        "tree": "ef" * 32,
        "time_s": 1,
    }
    return GitArchive(**(fields | change))


def test_a_mirror_is_asked_in_place_of_what_begins_like_it_and_the_first_that_fits_wins():
    hosts = GitHosts.configured(
        ("https://git.corp.example:8443",),
        ("https://one.example/a/ = file:///srv/a/", "https://one.example/=https://git.corp.example/one/"),
    )

    assert hosts.place("https://one.example/a/thing") == "file:///srv/a/thing"
    assert hosts.place("https://one.example/b/thing") == "https://git.corp.example/one/b/thing"
    assert hosts.place("https://two.example/thing") == "https://two.example/thing"
    with pytest.raises(Refusal, match="are no repositories unless configured"):
        hosts.place("file:///etc")
    assert hosts.with_own("file:///home/me/thing").place("file:///home/me/thing") == "file:///home/me/thing"


@pytest.mark.parametrize(
    ("hosts", "mirrors"),
    [
        (("git.corp.example",), ()),
        (("ssh://git.corp.example",), ()),
        ((), ("https://one.example/",)),
        ((), ("https://one.example/ = ssh://x/",)),
        ((), ("http://one.example/ = https://x/",)),
        ((), ("https://one.example/ = file:relative",)),
    ],
)
def test_what_is_no_host_and_no_mirror_is_refused_with_the_key(hosts, mirrors):
    with pytest.raises(Refusal) as caught:
        GitHosts.configured(hosts, mirrors)
    assert caught.value.code == "config-invalid"
    assert caught.value.who.startswith("builds.git_")


def test_a_version_gives_one_tag_and_only_plain_ones_are_asked_for():
    assert tag_of("rel/thing-{version}", "1.0") == "rel/thing-1.0"
    for good in ("v1.0", "rel/thing-1.0", "1.0+local", "thing@1.0", "_1"):
        assert plain_tag(good), good
    for bad in (
        "", "-v1", "--upload-pack=x", "v1..2", "v1/", "/v1", "v1//2", "a/.b", "v1.lock", "v1.", "v*", "v?", "v[1]",
        "v 1",
        "v^{}", "v~1", "v:1", "v\\1", "v@{1}", "v\n", "\u00e9", "a" * 201, ".v",
    ):  # fmt: skip
        assert not plain_tag(bad), bad


def test_the_source_of_a_request_is_what_the_ledger_takes_and_every_difference_is_named(tmp_path):
    mine = archive(tmp_path)
    _SOURCE(mine.as_source())
    same(mine.as_source(), mine)
    for field, other in {
        "commit": "ab" * 20,
        "tag": "v2",
        "tree": "00" * 32,
        "sha256": "00" * 32,
        "size": 8,
    }.items():
        with pytest.raises(Refusal, match=f"the source's {field} is") as caught:
            same(mine.as_source(), archive(tmp_path, **{field: other}))
        assert caught.value.code == "digest-mismatch"


async def test_without_a_sandbox_that_has_a_way_out_nothing_is_fetched(tmp_path):
    git = GitSources(Weak(), tmp_path)
    with pytest.raises(Refusal) as caught:
        await git.resolve("https://one.example/thing", "v1")
    assert caught.value.code == "no-sandbox"


async def test_without_git_nothing_is_fetched_and_the_one_command_is_named(tmp_path, monkeypatch):
    strong = Weak()
    strong.isolation = "namespace"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="apt-get install git") as caught:
        await GitSources(strong, tmp_path).resolve("https://one.example/thing", "v1")
    assert caught.value.code == "no-environment"


@pytest.mark.parametrize(
    ("name", "version", "file"),
    [
        ("thing", "1.0", "thing-1.0"),
        ("org.apache:thing", "1.0", "org.apache-thing-1.0"),
        ("../../etc", "1", "etc-1"),
        ("\u00e9", "1", "1"),
        ("", "", "source"),
        ("a" * 300, "1", "a" * 190),
    ],
)
def test_an_archive_has_a_plain_name_whatever_the_package_is_called(name, version, file):
    assert packing.file_name(name, version) == file


async def test_a_repository_whose_host_is_no_name_is_unreachable(tmp_path):
    """The rule of motions takes `a..b`; nobody is asked for it, and a build ends with a sentence."""
    git = GitSources(Weak(), tmp_path)
    async with AsyncExitStack() as stack:
        with pytest.raises(Refusal, match="empty or too long") as caught:
            await git._web(stack, "https://a..b/thing")
    assert caught.value.code == "source-unreachable"
