"""What is read before anything runs: settings of the operator, project files, versions, parameters."""

import itertools
from pathlib import Path

import pytest

from pyrsia.builds.maven import poms, recipe, settings, versions
from pyrsia.builds.maven.settings import CENTRAL, Repository
from pyrsia.builds.members import Hostile
from pyrsia.errors import Refusal


def parsed(*texts: str, **env: str) -> settings.MavenSettings:
    return settings.parse([("settings.xml", f"<settings>{text}</settings>".encode()) for text in texts], env)


def mirror(id: str, of: str, url: str, more: str = "") -> str:
    return f"<mirror><id>{id}</id><mirrorOf>{of}</mirrorOf><url>{url}</url>{more}</mirror>"


# -- settings --


def test_without_settings_central_is_asked():
    assert parsed().repositories == (Repository(CENTRAL),)
    assert settings.parse([], {}).repositories == (Repository(CENTRAL),)


def test_a_mirror_stands_for_central_with_the_credentials_of_its_own_server():
    found = parsed(
        f"<mirrors>{mirror('corp', '*', 'https://corp.example/maven/')}</mirrors>"
        "<servers><server><id>central</id><username>wrong</username><password>w</password></server>"
        "<server><id>corp</id><username>me</username><password>${env.SECRET}</password></server></servers>",
        SECRET="a<b&c",
    )

    assert found.repositories == (Repository("https://corp.example/maven", "me", "a<b&c"),)


@pytest.mark.parametrize(
    ("of", "fits"),
    [
        ("central", True), ("*", True), ("external:*", True), ("other,central", True), ("*,!central", False),
        ("external:http:*", False), ("other", False),
    ],
)  # fmt: skip
def test_what_a_mirror_stands_for(of: str, fits: bool):
    found = parsed(f"<mirrors>{mirror('m', of, 'https://m.example')}</mirrors>")

    assert (found.repositories[0].url == "https://m.example") is fits


def test_a_mirror_that_names_central_alone_comes_before_a_pattern():
    rows = mirror("all", "*", "https://all.example") + mirror("one", "central", "https://one.example")

    assert parsed(f"<mirrors>{rows}</mirrors>").repositories == (Repository("https://one.example"),)


def test_repositories_of_active_profiles_come_before_central_and_the_stronger_file_wins():
    profile = (
        "<profiles><profile><id>corp</id><repositories><repository><id>corp</id><url>file:///srv/maven</url>"
        "</repository><repository><id>snap</id><url>https://snap.example</url><releases><enabled>false</enabled>"
        "</releases></repository></repositories></profile></profiles>"
    )
    active = "<activeProfiles><activeProfile>corp</activeProfile></activeProfiles>"

    assert parsed(profile + active).repositories == (Repository("file:///srv/maven"), Repository(CENTRAL))
    assert parsed(profile).repositories == (Repository(CENTRAL),)
    both = parsed(
        f"<mirrors>{mirror('m', '*', 'https://user.example')}</mirrors>",
        f"<mirrors>{mirror('m', '*', 'https://machine.example')}</mirrors>",
    )
    assert both.repositories == (Repository("https://user.example"),)


def test_what_is_set_and_not_used_is_told_in_a_sentence():
    found = parsed(
        "<servers><server><id>central</id><username>me</username><password>{jSMOWnoPFgsHVpMvz5VrIt5kRbzGpI8u}"
        "</password></server></servers>"
        f"<mirrors>{mirror('b', 'old', 'http://0.0.0.0/', '<blocked>true</blocked>')}</mirrors>"
        "<profiles><profile><activation><activeByDefault>true</activeByDefault></activation><repositories>"
        "<repository><id>old</id><url>http://old.example</url></repository></repositories></profile></profiles>"
    )

    assert found.repositories == (Repository(CENTRAL),)
    assert [sentence.split(" is ")[0] for sentence in found.unused] == [
        "the encrypted password of the server central",
        "the repository old",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "<settings><mirrors></settings>",
        "<project/>",
        '<!DOCTYPE settings [<!ENTITY a "b">]><settings>&a;</settings>',
        "<settings><mirrors><mirror><id>m</id><mirrorOf>*</mirrorOf><url>ftp://x</url></mirror></mirrors></settings>",
        "<settings><mirrors><mirror><id>m</id><mirrorOf>*</mirrorOf><url>http://x</url><blocked>true</blocked></mirror>"
        "</mirrors></settings>",
    ],
)
def test_settings_that_maven_would_not_take_are_refused(text: str):
    with pytest.raises(Refusal) as refused:
        settings.parse([("settings.xml", text.encode())], {})

    assert refused.value.code == "config-invalid"


def test_the_user_s_file_is_read_before_the_machine_s(tmp_path: Path):
    found = settings.files({"MAVEN_HOME": "/opt/maven"}, tmp_path)

    assert found == (tmp_path / ".m2" / "settings.xml", Path("/opt/maven/conf/settings.xml"))
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text(
        f"<settings><mirrors>{mirror('m', '*', 'file://${user.home}/repo')}</mirrors></settings>"
    )
    assert settings.load({"HOME": str(tmp_path)}).repositories == (Repository(f"file://{tmp_path}/repo"),)


def test_a_proxy_of_the_settings_is_one_url():
    proxy = "<proxy><host>p.example</host><port>3128</port><username>a@b</username><password>c/d</password></proxy>"

    assert parsed(f"<proxies>{proxy}</proxies>").proxy == "http://a%40b:c%2Fd@p.example:3128"
    assert (
        parsed(f"<proxies>{proxy.replace('<host>', '<active>false</active><host>')}</proxies>").proxy is None
    )


# -- project files --


def pom(name: str, *, parent: str = "", group: str = "", version: str = "", more: str = "") -> poms.Pom:
    text = f'<project xmlns="http://maven.apache.org/POM/4.0.0">{parent}'
    text += f"<groupId>{group}</groupId>" if group else ""
    text += f"<version>{version}</version>" if version else ""
    return poms.read(f"{text}<artifactId>{name}</artifactId>{more}</project>".encode())


PARENT = "<parent><groupId>org.example</groupId><artifactId>top</artifactId><version>2</version></parent>"


def test_group_and_version_come_from_the_parent_where_a_project_has_none():
    found = pom("core", parent=PARENT)

    assert (found.group, found.name, found.version, found.packaging) == ("org.example", "core", "2", "jar")
    assert found.parent == ("org.example", "top", "2")


def test_a_module_is_built_from_the_project_that_lists_it_and_one_that_nobody_lists_by_itself():
    top = pom("top", group="org.example", version="2", more="<modules><module>a</module></modules>")
    nested = pom("a", parent=PARENT, more="<modules><module>../b/pom.xml</module></modules>")
    known = {"": top, "a": nested, "b": pom("b", parent=PARENT), "c": pom("c", parent=PARENT)}

    def place(name: str) -> tuple[str, str]:
        found = poms.find(known, "org.example", name, "2")
        return found.root, found.module

    assert [place(name) for name in ("top", "a", "b", "c")] == [("", ""), ("", "a"), ("", "b"), ("c", "")]


def test_modules_that_lead_in_a_circle_or_out_of_the_source_end():
    top = pom(
        "top",
        group="org.example",
        version="2",
        more="<modules><module>.</module><module>../x</module></modules>",
    )

    assert poms.find({"": top}, "org.example", "top", "2").module == ""


def test_a_value_that_maven_computes_is_taken_for_any_and_another_project_is_not():
    found = pom("tool", group="org.example", version="${revision}")

    assert poms.find({"": found}, "org.example", "tool", "9").pom is found
    for wanted in (("org.other", "tool", "9"), ("org.example", "other", "9")):
        with pytest.raises(Hostile, match="holds no project"):
            poms.find({"": found}, *wanted)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not xml",
        b"<project><artifactId/></project>",
        b"<other><artifactId>a</artifactId></other>",
        b'<!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><project><artifactId>&b;</artifactId></project>',
        b"<project>" + b"<a>" * 100 + b"</a>" * 100 + b"</project>",
        b"<project><artifactId>a</artifactId></project><project/>",
    ],
)
def test_the_lie_what_is_no_project_file_is_refused(text: bytes):
    with pytest.raises(Hostile):
        poms.read(text)


# -- versions --

ORDER = (
    "1-alpha1", "1-alpha-2", "1-beta", "1-m3", "1-rc1", "1-SNAPSHOT", "1", "1-sp", "1-foo", "1-1", "1.1", "1.2",
    "1.10", "2.0-rc1", "2.0", "2.0.1", "10",
)  # fmt: skip


def test_versions_stand_in_maven_s_order():
    for (i, one), (j, other) in itertools.product(enumerate(ORDER), repeat=2):
        found = versions.compare(one, other)
        assert (found > 0) - (found < 0) == (i > j) - (i < j), (one, other)
    assert versions.newest(list(reversed(ORDER))) == "10"


@pytest.mark.parametrize(
    ("one", "other"), [("1", "1.0.0"), ("1-ga", "1"), ("1.0-final", "1"), ("1-cr2", "1-rc2")]
)
def test_spellings_of_one_version_are_equal(one: str, other: str):
    assert versions.compare(one, other) == 0


# -- parameters --


def test_rules_decide_what_nobody_may_choose():
    made = recipe.maven_recipe(
        environment="rootfs:x",
        newest_s=1_700_000_000,
        parameters={"tests": "compile", "a": "b"},
    )

    assert made["parameters"] == [["a", "b"], ["tests", "compile"]]
    assert (made["sde"], made["cutoff_ms"]) == (1_700_000_000, 1_700_000_000_000)
    assert (made["backend"], made["normaliser"]) == ("maven/jar@1", "jar@1")
    assert recipe.parameters_of(made) == {"a": "b", "tests": "compile"}


def test_a_source_without_times_gets_the_first_that_maven_s_archiver_takes():
    """A folder that is given along is packed with the time 1980-01-01 for all."""
    made = recipe.maven_recipe(environment="rootfs:x", newest_s=315_532_800, parameters={})

    assert made["sde"] == 315_532_802


def test_parameters_of_a_mapping_stand_over_the_rules():
    assert recipe.chosen({}, sources_wanted=True) == {"sources": "attach", "tests": "compile"}
    given = {"sources": "project", "tests": "run", "profiles": "release,!slow", "define": "a=1 b.c=x/y"}
    assert recipe.chosen(given, sources_wanted=True) == given


@pytest.mark.parametrize(
    "given",
    [
        {"goals": "deploy"},
        {"tests": "sometimes"},
        {"profiles": "a b"},
        {"profiles": "-Dx=y"},
        {"define": "x"},
        {"define": "x=$(id)"},
        {"define": "x=a  y=b"},
        {"define": "project.build.outputTimestamp=1"},
        {"define": "a=b maven.repo.local=/tmp/x"},
        {"define": "a=" + "b" * 200},
    ],
)
def test_the_lie_a_parameter_that_is_none_is_refused(given: dict[str, str]):
    with pytest.raises(Refusal) as refused:
        recipe.chosen(given, sources_wanted=False)

    assert refused.value.code == "bad-request"
