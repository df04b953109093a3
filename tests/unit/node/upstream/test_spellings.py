"""One version or image, however it is spelt: what the log holds and what a policy denies stays so at every spelling."""

import pytest

from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.errors import Refusal
from pyrsia.policy import evaluate, rules
from pyrsia.serve.pypi import listing
from tests.unit.node.upstream.toy import JSON_TYPE, SIX, in_front, listening, page, plain, whole

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.fixture
async def up():
    async with listening() as found:
        yield found


@pytest.mark.parametrize(
    ("held", "named", "given"),
    [
        ("1.0", "six-1.0.0-py3-none-any.whl", False),
        ("1.0.0", "six-1-py3-none-any.whl", False),
        ("1.0", "six-01.0.0.0.0-py3-none-any.whl", False),
        ("1.0rc1", "six-1rc1.tar.gz", False),
        ("1.0.post1", "six-1.0.0.post1-py3-none-any.whl", False),
        ("1.0", "six-1.0.1-py3-none-any.whl", True),
        ("1.0", "six-10-py3-none-any.whl", True),
        ("1.0", "six-1.0+local-py3-none-any.whl", True),
    ],
)
async def test_a_version_that_the_log_holds_is_never_upstream_s_however_it_is_spelt(
    up, tmp_path, held, named, given
):
    url = f"{up.url}/{named}"
    up.says["/simple/six/"] = plain(page((named, url)), content_type=JSON_TYPE)
    up.says[f"/{named}"] = plain(b"unverified")
    async with in_front(tmp_path, {"pip": (f"{up.url}/simple",)}) as front:
        front.ours.held[SIX] = {held}
        await front.proxy.document(SIX, "six/")
        if given:
            assert await whole(await front.proxy.file(SIX, url)) == b"unverified"
            return
        with pytest.raises(Refusal, match="the log holds") as caught:
            await front.proxy.file(SIX, url)
        assert caught.value.code == "denied"
        assert not up.times(f"/{named}")


def test_a_page_adds_no_other_spelling_of_a_version_that_is_held():
    files = tuple(
        IndexFile(f"six-{one}-py3-none-any.whl", "https://x/", "0" * 64) for one in ("1.0.0", "1.1")
    )
    added = listing.proxied("six", Project("six", "https://x/", files), {"1.0"})
    assert [one.filename for one in added] == ["six-1.1-py3-none-any.whl"]


def judging(text):
    """As a node's policy judges."""
    policy = rules.parse(text, "test")

    def judge(facts):
        said = evaluate.decide(policy, facts, 1_700_000_000_000)
        return None if said.allowed else evaluate.refusal(facts, said)

    return judge


@pytest.mark.parametrize("denied", ["pkg:docker/library/alpine", "pkg:docker/alpine", "pkg:docker/library/*"])
async def test_an_official_image_that_is_denied_by_one_name_is_asked_for_by_none(up, tmp_path, denied):
    up.says["/v2/library/alpine/manifests/3"] = plain(b"{}")
    judge = judging(b'[oci]\nmode = "proxy"\ndeny = ["%b"]' % denied.encode())
    async with in_front(tmp_path, {"oci": (up.url,)}, judge=judge) as front:
        for name in ("alpine", "library/alpine"):
            with pytest.raises(Refusal, match="deny names it"):
                await front.proxy.document(f"pkg:docker/{name}", f"v2/{name}/manifests/3")
    assert not up.asked


async def test_a_version_that_is_denied_is_denied_at_every_spelling(up, tmp_path):
    url = f"{up.url}/six-1.0.0-py3-none-any.whl"
    up.says["/simple/six/"] = plain(page(("six-1.0.0-py3-none-any.whl", url)), content_type=JSON_TYPE)
    judge = judging(b'[pip]\nmode = "proxy"\ndeny = ["pkg:pypi/six@1.0"]')
    async with in_front(tmp_path, {"pip": (f"{up.url}/simple",)}, judge=judge) as front:
        await front.proxy.document(SIX, "six/")
        with pytest.raises(Refusal, match="deny names it"):
            await front.proxy.file(SIX, url)
    assert not up.times("/six-1.0.0-py3-none-any.whl")


@pytest.mark.parametrize("plus", ["+", "%2B"])
@pytest.mark.parametrize(
    ("package", "path"),
    [
        ("pkg:conan/zlib", f"v2/conans/zlib/1.0{{}}x/_/_/revisions/{'0' * 32}/files/conanfile.py"),
        ("pkg:maven/org.acme/lib", "org/acme/lib/1.0{}x/lib-1.0{}x.jar"),
    ],
)
async def test_a_plus_is_one_however_a_path_writes_it(up, tmp_path, plus, package, path):
    ups = {"conan": (up.url,), "maven": (up.url,)}
    async with in_front(tmp_path, ups, judge=judging(b'[all]\nmode = "proxy"\ndeny = ["*@2*"]')) as front:
        front.ours.held[package] = {"1.0+x"}
        with pytest.raises(Refusal, match="the log holds"):
            await front.proxy.file(package, path.replace("{}", plus))
        with pytest.raises(Refusal, match="deny names it"):
            await front.proxy.file(package, path.replace("{}", plus).replace("1.0", "2.0"))
    assert not up.asked
