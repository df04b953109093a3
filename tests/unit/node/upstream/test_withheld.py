"""What the log keeps back stays back: upstream's copy of it is not given under another name, digest or age."""

import hashlib
from dataclasses import replace

import pytest

from pyrsia.errors import Refusal, Unavailable
from pyrsia.knowledge.known import Advisory, Known
from pyrsia.policy import evaluate, rules
from pyrsia.serve.maven.proxied import opened
from pyrsia.serve.maven.sums import SumCache
from tests.reference.waiting import until
from tests.unit.node.upstream.test_spellings import judging
from tests.unit.node.upstream.toy import in_front, listening, plain, sha256, whole

pytestmark = pytest.mark.usefixtures("bare_environment")
JAR = "org/mallory/again/1/again-1.jar"
AGAIN = "pkg:maven/org.mallory/again"
APP = "pkg:docker/team/app"


@pytest.fixture
async def up():
    async with listening() as found:
        yield found


def keeping_back(*data):
    digests = {sha256(one) for one in data}
    withdrawn = Refusal("withdrawn", what="it was withdrawn", who="the network", do="use another version")
    return lambda found: withdrawn if found in digests else None


async def test_withdrawn_bytes_are_not_given_under_another_name_of_maven_s(up, tmp_path):
    up.says[f"/m2/{JAR}"] = plain(b"withdrawn jar" * 100)
    async with in_front(tmp_path, {"maven": (f"{up.url}/m2",)}) as front:
        front.proxy.against = keeping_back(b"withdrawn jar" * 100)
        for _ in range(2):
            with pytest.raises(Exception, match="withdrawn"):
                await whole(await front.proxy.file(AGAIN, JAR))
            await until(lambda: front.under_way == 0)
        assert (front.copies.used, front.counters.refused) == (0, 2)


async def test_what_is_withdrawn_after_it_was_kept_is_given_no_more(up, tmp_path):
    up.says[f"/m2/{JAR}"] = plain(b"jar")
    async with in_front(tmp_path, {"maven": (f"{up.url}/m2",)}) as front:
        assert await whole(await front.proxy.file(AGAIN, JAR)) == b"jar"
        await until(lambda: front.under_way == 0)
        assert front.proxy.kept(AGAIN, JAR) is not None
        front.proxy.against = keeping_back(b"jar")
        assert front.proxy.kept(AGAIN, JAR) is None
        with pytest.raises(Refusal, match="withdrawn"):
            await front.proxy.file(AGAIN, JAR)
        front.proxy.against = keeping_back()
        assert await whole(await front.proxy.file(AGAIN, JAR)) == b"jar"
    assert up.times(f"/m2/{JAR}") == 1


async def test_withdrawn_bytes_are_not_given_by_another_digest(up, tmp_path):
    digest = hashlib.sha512(b"layer").hexdigest()
    path = f"v2/team/app/blobs/sha512:{digest}"
    up.says[f"/{path}"] = plain(b"layer")
    async with in_front(tmp_path, {"oci": (up.url,)}) as front:
        front.proxy.against = keeping_back(b"layer")
        with pytest.raises(Exception, match="withdrawn"):
            await whole(await front.proxy.file(APP, path, sha512=digest))
        await until(lambda: front.under_way == 0)
        front.proxy.against = keeping_back()
        assert await whole(await front.proxy.file(APP, path, sha512=digest)) == b"layer"


@pytest.mark.parametrize("kind", ["sha256", "sha512", ""])
async def test_an_image_of_unknown_age_is_refused_by_whatever_it_is_asked_for(up, tmp_path, kind):
    reference = f"{kind}:{hashlib.new(kind, b'{}').hexdigest()}" if kind else "1"
    up.says["/v2/team/app/tags/list"] = plain(b"{}")
    judge = judging(b'[oci]\nmode = "proxy"\nmin_age_days = 30')
    async with in_front(tmp_path, {"oci": (up.url,)}, judge=judge) as front:
        with pytest.raises(Refusal, match="nobody knows how old it is"):
            await front.proxy.document(APP, f"v2/team/app/manifests/{reference}")
        assert (await front.proxy.document(APP, "v2/team/app/tags/list")).data == b"{}"


# -- copies that came for others, went, or were touched in a time that is still to come --


async def test_bytes_that_came_for_one_package_are_another_s_only_if_both_are_given(up, tmp_path):
    digest, denied = sha256(b"layer"), []
    paths = {name: f"v2/team/{name}/blobs/sha256:{digest}" for name in ("app", "other")}
    jar = f"v2/x/y/blobs/sha256:{sha256(b'jar')}"
    up.says |= {f"/{paths['app']}": plain(b"layer"), f"/m2/{JAR}": plain(b"jar")}

    def judge(facts):
        no = Refusal("denied", what="no", who="the policy", do="ask for another")
        return no if any(name in facts.purl for name in denied) else None

    async with in_front(tmp_path, {"oci": (up.url,), "maven": (f"{up.url}/m2",)}, judge=judge) as front:
        assert await whole(await front.proxy.file(APP, paths["app"])) == b"layer"
        assert await whole(await front.proxy.file(AGAIN, JAR)) == b"jar"
        await until(lambda: front.under_way == 0)
        asked = len(up.asked)
        assert await front.proxy.file("pkg:docker/x/y", jar) is None  # nobody has it as an image's blob
        assert len(up.asked) == asked + 1
        assert await whole(await front.proxy.file("pkg:docker/team/other", paths["other"])) == b"layer"
        assert not up.times(f"/{paths['other']}")
        await front.copies.forget("pkg:docker/team/other", paths["other"])
        denied.append("team/app")
        assert await front.proxy.file("pkg:docker/team/other", paths["other"]) is None
        assert up.times(f"/{paths['other']}") == 1


@pytest.mark.parametrize("lose", ["deleted", "cut"])
async def test_a_copy_that_is_not_there_any_more_is_fetched_again(up, tmp_path, lose):
    path = f"v2/team/app/blobs/sha256:{sha256(b'layer')}"
    up.says[f"/{path}"] = plain(b"layer")
    async with in_front(tmp_path, {"oci": (up.url,)}) as front:
        for times in (1, 2, 3):
            assert await whole(await front.proxy.file(APP, path, sha256=sha256(b"layer"))) == b"layer"
            await until(lambda: front.under_way == 0)
            assert (up.times(f"/{path}"), front.copies.used, front.copies.rows) == (times, 5, 1)
            file = front.copies.path(sha256(b"layer"))
            file.unlink() if lose == "deleted" else file.write_bytes(b"lay")
            assert front.proxy.kept(APP, path) is None


async def test_a_clock_that_was_set_back_keeps_nothing_in_hand(up, tmp_path):
    for number in range(2):
        up.says[f"/m2/org/mallory/again/{number}/again-{number}.jar"] = plain(bytes([number]) * 600)
    async with in_front(tmp_path, {"maven": (f"{up.url}/m2",)}, quota=1_000) as front:
        await whole(await front.proxy.file(AGAIN, "org/mallory/again/0/again-0.jar"))
        await until(lambda: front.under_way == 0)
        front.later(-86_400)
        assert len(await whole(await front.proxy.file(AGAIN, "org/mallory/again/1/again-1.jar"))) == 600


async def test_a_file_that_is_not_what_upstream_s_own_sha1_names_is_asked_for_again(up, tmp_path):
    up.says[f"/m2/{JAR}.sha1"] = plain(hashlib.sha1(b"the real jar").hexdigest().encode())  # noqa: S324
    up.says[f"/m2/{JAR}"] = plain(b"<html>log in first</html>")
    async with in_front(tmp_path, {"maven": (f"{up.url}/m2",)}) as front:
        for _ in range(2):
            with pytest.raises(Unavailable, match="SHA-1"):
                await whole(await opened(front.proxy, AGAIN, JAR, SumCache()))
            await until(lambda: front.under_way == 0)
        up.says[f"/m2/{JAR}"] = plain(b"the real jar")
        assert await whole(await opened(front.proxy, AGAIN, JAR, SumCache())) == b"the real jar"
    assert up.times(f"/m2/{JAR}") == 3


# -- what is said of these very bytes --

MALICE = Advisory("MAL-1", (), "critical", "", "this file", True, "", "i" * 52, 1)


def knowing(text, *data):
    """As a node judges whose log has an advisory about each of these bytes, and about nothing else."""
    policy, digests = rules.parse(text, "test"), {sha256(one) for one in data}

    def judge(facts):
        known = Known(1, True, (MALICE,) if facts.sha256 in digests else ())
        facts = replace(facts, known=None if facts.any_version and not facts.sha256 else known)
        said = evaluate.decide(policy, facts, 1_700_000_000_000)
        return None if said.allowed else evaluate.refusal(facts, said)

    return judge


async def test_a_file_that_an_advisory_names_by_its_digest_is_not_given_by_its_path(up, tmp_path):
    """Maven's paths have no digest: what is said of the bytes is asked when they are here, and of copies each time."""
    up.says[f"/m2/{JAR}"] = plain(b"jar" * 200)
    bad: list[bytes] = []
    judge = lambda facts: knowing(b'[maven]\nmode = "proxy"\nmax_severity = "medium"\n', *bad)(facts)  # noqa: E731
    async with in_front(tmp_path, {"maven": (f"{up.url}/m2",)}, judge=judge) as front:
        assert await whole(await front.proxy.file(AGAIN, JAR)) == b"jar" * 200
        await until(lambda: front.under_way == 0)
        bad.append(b"jar" * 200)
        assert front.proxy.kept(AGAIN, JAR) is None
        with pytest.raises(Refusal, match="MAL-1 is critical"):
            await front.proxy.file(AGAIN, JAR)
        await front.proxy.forget(AGAIN, JAR)
        with pytest.raises(Exception, match="MAL-1 is critical"):
            await whole(await front.proxy.file(AGAIN, JAR))
        await until(lambda: front.under_way == 0)
        assert front.copies.find(AGAIN, JAR) is None


async def test_of_an_image_its_manifest_and_its_layers_are_judged_by_their_digests(up, tmp_path):
    manifest, layer = b'{"schemaVersion": 2}', b"bad layer"
    by_digest = f"v2/team/app/manifests/sha256:{sha256(manifest)}"
    of_layer = f"v2/team/app/blobs/sha256:{sha256(layer)}"
    for path, data in ((by_digest, manifest), ("v2/team/app/manifests/1", manifest), (of_layer, layer)):
        up.says[f"/{path}"] = plain(data)
    text = b'[oci]\nmode = "proxy"\nmax_severity = "medium"\n'
    async with in_front(tmp_path / "a", {"oci": (up.url,)}, judge=knowing(text, manifest, layer)) as front:
        for path in ("v2/team/app/manifests/1", by_digest):
            for _ in range(2):
                with pytest.raises(Refusal, match="MAL-1 is critical"):
                    await front.proxy.document(APP, path)
        with pytest.raises(Refusal, match="MAL-1 is critical"):
            await front.proxy.file(APP, of_layer, sha256=sha256(layer))
    async with in_front(tmp_path / "b", {"oci": (up.url,)}, judge=knowing(text)) as front:
        for path in ("v2/team/app/manifests/1", by_digest):
            assert (await front.proxy.document(APP, path)).data == manifest
        assert await whole(await front.proxy.file(APP, of_layer, sha256=sha256(layer))) == layer
