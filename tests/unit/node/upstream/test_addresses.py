"""What is asked where, for each ecosystem, as the operator configured it."""

import pytest

from pyrsia.builds.conan.remotes import Remotes
from pyrsia.builds.maven.settings import MavenSettings, Repository
from pyrsia.builds.pip.config import PipConfig
from pyrsia.errors import Malformed, Refusal
from pyrsia.node.upstream import settings
from pyrsia.node.upstream.conan import ConanRemotes
from pyrsia.node.upstream.maven import MavenRepositories
from pyrsia.node.upstream.oci import ImageRegistries
from pyrsia.node.upstream.pip import PackageIndexes
from pyrsia.wire import purl as purls
from tests.unit.node.upstream.toy import in_front, listening, plain, sha256, whole

DIGEST = "sha256:" + "ab" * 32
DIGEST_512 = "sha512:" + "ab" * 64
INDEXES = PackageIndexes(PipConfig(indexes=("https://a.example/simple", "https://b.example/simple")))
REPOSITORIES = MavenRepositories(
    MavenSettings((Repository("https://a.example/m2", "anna", "word"), Repository("https://b.example")))
)
REMOTES = ConanRemotes(Remotes({"conan-0": "https://a.example/conan"}, {"source-0": "https://s.example"}))
REGISTRIES = ImageRegistries(("https://a.example", "https://ghcr.io"))


@pytest.mark.parametrize(
    ("place", "package", "path", "urls", "moves", "version"),
    [
        (INDEXES, "pkg:pypi/six", "six/", ["https://a.example/simple/six/", "https://b.example/simple/six/"], True, ""),
        (INDEXES, "pkg:pypi/six", "https://f.example/six-1.0.zip", ["https://f.example/six-1.0.zip"], False, "1.0"),
        (INDEXES, "pkg:pypi/six", "https://f.example/six-01.0-py3-none-any.whl.metadata",
         ["https://f.example/six-01.0-py3-none-any.whl.metadata"], False, "1.0"),
        (INDEXES, "pkg:pypi/six", "https://f.example/six.exe", ["https://f.example/six.exe"], False, None),
        (REPOSITORIES, "pkg:maven/org.acme/lib", "org/acme/lib/1.0/lib-1.0.jar",
         ["https://a.example/m2/org/acme/lib/1.0/lib-1.0.jar", "https://b.example/org/acme/lib/1.0/lib-1.0.jar"], False,
         "1.0"),
        (REPOSITORIES, "pkg:maven/org.acme/lib", "org/acme/lib/maven-metadata.xml",
         ["https://a.example/m2/org/acme/lib/maven-metadata.xml", "https://b.example/org/acme/lib/maven-metadata.xml"],
         True, ""),
        (REPOSITORIES, "pkg:maven/org.acme/lib", "org/acme/maven-metadata.xml",
         ["https://a.example/m2/org/acme/maven-metadata.xml", "https://b.example/org/acme/maven-metadata.xml"],
         True, ""),
        (REMOTES, "pkg:conan/zlib", "v2/conans/zlib/1.3/_/_/latest",
         ["https://a.example/conan/v2/conans/zlib/1.3/_/_/latest"], True, "1.3"),
        (REMOTES, "pkg:conan/team/zlib", "v2/conans/zlib/1.3/team/_/latest",
         ["https://a.example/conan/v2/conans/zlib/1.3/team/_/latest"], True, "1.3"),
        (REMOTES, "pkg:conan/zlib", "v2/conans/zlib/1.3/_/_/revisions/ab/files/conanfile.py",
         ["https://a.example/conan/v2/conans/zlib/1.3/_/_/revisions/ab/files/conanfile.py"], False, "1.3"),
        (REMOTES, "pkg:conan/zlib", "v2/conans/search?q=zlib%2F*",
         ["https://a.example/conan/v2/conans/search?q=zlib%2F*"], True, ""),
        (REGISTRIES, "pkg:docker/team/app", "v2/team/app/manifests/1.0",
         ["https://a.example/v2/team/app/manifests/1.0", "https://ghcr.io/v2/team/app/manifests/1.0"], True, "1.0"),
        (REGISTRIES, "pkg:docker/ghcr.io/team/app", f"v2/team/app/blobs/{DIGEST}",
         [f"https://ghcr.io/v2/team/app/blobs/{DIGEST}"], False, ""),
        (REGISTRIES, "pkg:docker/ghcr.io/team/app", f"v2/team/app/manifests/{DIGEST_512}",
         [f"https://ghcr.io/v2/team/app/manifests/{DIGEST_512}"], False, ""),
        (REGISTRIES, "pkg:docker/quay.io/team/app", "v2/team/app/tags/list", [], True, ""),
    ],
)  # fmt: skip
def test_what_is_asked_where(place, package, path, urls, moves, version):
    purl = purls.parse(package)

    assert list(place.urls(purl, path)) == urls
    assert place.moves(path) == moves
    assert place.version(purl, path) == version


def test_a_name_of_one_part_is_looked_for_among_the_official_images_first():
    places = ImageRegistries(("https://a.example",))

    assert list(places.urls(purls.parse("pkg:docker/alpine"), "v2/alpine/tags/list")) == [
        "https://a.example/v2/library/alpine/tags/list",
        "https://a.example/v2/alpine/tags/list",
    ]
    assert places.digest(f"v2/alpine/blobs/{DIGEST}") == "ab" * 32
    assert places.digest(f"v2/alpine/blobs/{DIGEST_512}") == ""
    assert places.digest("v2/alpine/manifests/3") == ""


@pytest.mark.parametrize(
    ("place", "package", "path"),
    [
        (INDEXES, "pkg:pypi/six", "seven/"),
        (INDEXES, "pkg:pypi/six", "file:///etc/passwd"),
        (INDEXES, "pkg:pypi/six", "ftp://a.example/x"),
        (REPOSITORIES, "pkg:maven/org.acme/lib", "org/acme/library/1.0/lib-1.0.jar"),
        (REPOSITORIES, "pkg:maven/org.acme/lib", "org/acme/lib/../other/1/other-1.jar"),
        (REPOSITORIES, "pkg:maven/org.acme/lib", "org/acme/lib/1.0/"),
        (REPOSITORIES, "pkg:maven/org.acme/lib", "org/acme/lib/1.0/x?y"),
        (REPOSITORIES, "pkg:maven/org.acme/lib", "org/acme/lib/1.0/%2e%2e/x"),
        (REMOTES, "pkg:conan/zlib", "v2/conans/zlib/1.3/team/_/latest"),
        (REMOTES, "pkg:conan/team/zlib", "v2/conans/zlib/1.3/_/_/latest"),
        (REMOTES, "pkg:conan/zlib", "v2/conans/search?q=*"),
        (REMOTES, "pkg:conan/zlib", "v2/users/authenticate"),
        (REGISTRIES, "pkg:docker/team/app", "v2/other/app/manifests/1"),
        (REGISTRIES, "pkg:docker/team/app", "v2/team/app/manifests/../../x"),
        (REGISTRIES, "pkg:docker/team/app", "v2/team/app/blobs/sha256:zz"),
        (REGISTRIES, "pkg:docker/team/app", "v2/_catalog"),
    ],
)
def test_a_path_that_is_none_of_the_package_s(place, package, path):
    with pytest.raises(Malformed):
        place.urls(purls.parse(package), path)


def test_credentials_belong_to_the_place_that_they_stand_beside():
    origins = REPOSITORIES.outbound.auth

    assert set(origins) == {("https", "a.example", 443)}
    assert REPOSITORIES.outbound.open_hosts == {("a.example", 443), ("b.example", 443)}


@pytest.mark.parametrize("ecosystem", ["pip", "maven", "conan", "oci"])
def test_a_configuration_that_cannot_be_read_refuses_its_own_packages(ecosystem, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CONAN_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = gopher://x\n")
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text("<no>")
    (tmp_path / "remotes.json").write_text("no")
    with pytest.raises(Refusal) as caught:
        settings.made(ecosystem, ("gopher://x",))

    assert caught.value.code == "config-invalid"


def test_which_purls_have_an_upstream():
    told = {
        text: found[0] if (found := settings.read(text)) is not None else None
        for text in (
            "pkg:pypi/six",
            "pkg:docker/app",
            "pkg:generic/x",
            "pkg:pypi/six@1.0",
            "pkg:pypi/Six",
            "x",
        )
    }

    assert list(told.values()) == ["pip", "oci", None, None, None, None]


@pytest.mark.usefixtures("bare_environment")
async def test_a_registry_s_token_is_asked_for_once_and_again_when_it_is_no_longer_taken(tmp_path):
    async with listening() as up:
        tokens = iter(["one", "two", "three"])
        good = {"one"}

        async def token(stream, asked):
            await stream.send_all(
                plain(f'{{"token": "{next(tokens)}"}}'.encode(), content_type="application/json")
            )

        def behind(data):
            async def say(stream, asked):
                if asked.headers.get("authorization", "")[7:] in good:
                    await stream.send_all(plain(data))
                else:
                    challenge = f'Bearer realm="{up.url}/token",service="reg",scope="other"'
                    await stream.send_all(plain(b"{}", "401 Unauthorized", www_authenticate=challenge))

            return say

        blob = f"v2/team/app/blobs/sha256:{sha256(b'blob')}"
        up.says["/token?scope=repository%3Ateam%2Fapp%3Apull&service=reg"] = token
        up.says["/v2/team/app/manifests/1"] = behind(b"manifest")
        up.says[f"/{blob}"] = behind(b"blob")
        async with in_front(tmp_path, {"oci": (up.url,)}) as front:
            app = "pkg:docker/team/app"
            assert (await front.proxy.document(app, "v2/team/app/manifests/1")).data == b"manifest"
            assert await whole(await front.proxy.file(app, blob)) == b"blob"
            assert [one.target.partition("?")[0] for one in up.asked] == [
                "/v2/team/app/manifests/1", "/token", "/v2/team/app/manifests/1", f"/{blob}"
            ]  # fmt: skip
            good.clear()
            good.add("two")
            front.later(601)
            assert (await front.proxy.document(app, "v2/team/app/manifests/1")).data == b"manifest"
            good.clear()
            front.later(601)
            old = await front.proxy.document(app, "v2/team/app/manifests/1")

    assert (old.data, old.stale) == (b"manifest", True)
    assert next(tokens, None) is None
