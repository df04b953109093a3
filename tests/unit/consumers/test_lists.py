"""Lists of packages as their own tools read them: what a tool would install or run is never passed over in silence."""

import json

import pytest

from pyrsia.cli.builds import files
from pyrsia.consumers.auditing import kinds, lists
from pyrsia.consumers.auditing.components import Gathered
from pyrsia.errors import Refusal
from pyrsia.units import Limit


def found(path, text):
    path.write_text(text)
    into = Gathered()
    kinds.read(path, path.name, into)
    return into


def purls(into):
    return [one.purl for one in into.components]


def test_a_requirement_that_goes_on_at_the_end_of_the_file_is_one(tmp_path):
    path = tmp_path / "requirements.txt"
    for end in ("\\", "\\\n", " \\\n# no more", "  --hash=sha256:00 \\"):
        into = found(path, f"pytest==8.0\nidna==1.0 {end}")
        assert purls(into) == ["pkg:pypi/pytest@8.0", "pkg:pypi/idna@1.0"]
        assert [one.name for one in files.read(path).items] == ["pytest", "idna"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("--pre # x\\ \nb==2", ["b"]),  # a space behind it: nothing is joined
        ("--pre # x\\\nb==2\nc==1", ["c"]),  # the next line is comment as well
        ("# x \\\nb==2", ["b"]),
        ("a==1 \\\n# x \\\nb==2", ["a", "b"]),
        ("a=\\\n=1\nb==2", ["a", "b"]),
        ("a==1#x\n", []),
    ],
)
def test_lines_are_joined_as_pip_joins_them(tmp_path, text, names):
    try:
        into = found(tmp_path / "requirements.txt", text)
    except Refusal:
        assert names == []
    else:
        assert [one.split("/")[1][0] for one in purls(into)] == names


@pytest.mark.parametrize(
    "line",
    ["-r more.txt", "-rmore.txt", "--requirement more.txt", "--requirement=more.txt", "--requirem more.txt",
     "--no-index -r more.txt", "--index-url https://i --requirement=more.txt", '-r "more.txt"'],
)  # fmt: skip
def test_a_list_leads_to_another_however_pip_lets_it_be_written(tmp_path, line):
    (tmp_path / "more.txt").write_text("idna==1.0\n")
    assert purls(found(tmp_path / "requirements.txt", line)) == ["pkg:pypi/idna@1.0"]


@pytest.mark.parametrize("line", ["-e .", "--editable=.", "--pre -e ./own", "-e./own", "--edit ."])
def test_what_lies_beside_is_left_out_with_a_word(tmp_path, line):
    into = found(tmp_path / "requirements.txt", f"idna==1.0\n{line}\n")
    assert [one.what for one in into.left] == ["-e"]


def test_options_that_bring_no_packages_are_passed_over(tmp_path):
    into = found(
        tmp_path / "requirements.txt", "--extra-index-url x\n--require-hashes\n-c c.txt\n-i 'x\nidna==1"
    )
    assert (purls(into), into.left) == (["pkg:pypi/idna@1"], ())


@pytest.mark.parametrize("marker", ['python_version ~= "x"', 'os_name ~= "1"', '"a" ~= os_name'])
def test_a_marker_that_cannot_be_decided_is_a_refusal_for_who_builds_and_none_for_an_audit(tmp_path, marker):
    path = tmp_path / "requirements.txt"
    assert purls(found(path, f"a==1; {marker}\n")) == ["pkg:pypi/a@1"]
    with pytest.raises(Refusal, match="nobody can decide the marker of a"):
        files.read(path)


def test_a_list_whose_name_no_system_takes_is_left_out_with_a_word(tmp_path):
    name = "a" * 5_000
    into = found(tmp_path / "requirements.txt", f"idna==1.0\n{'#' * 5_000}\n-r {name}\n-r \0x\n-r .\n")
    assert [one.why for one in into.left] == ["it cannot be read here"] * 3


def test_lists_that_lead_to_too_many_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "MAX_LISTS", Limit(3, "for the test"))
    for number in range(4):
        (tmp_path / f"r{number}.txt").write_text(f"-r r{number + 1}.txt\n")
    with pytest.raises(Refusal, match="more than 3 lists"):
        found(tmp_path / "r0.txt", "-r r1.txt")


def test_numbers_that_python_does_not_read_are_no_lock(tmp_path):
    for text in (f"version = {'9' * 5_000}\n[[package]]\n", f'{{"requires": [], "version": {"9" * 5_000}}}'):
        with pytest.raises(Refusal) as caught:
            found(tmp_path / "uv.lock", text)
        assert caught.value.answer.exit == 2


def test_all_that_a_conan_lock_locks_is_audited_and_only_what_is_needed_is_asked_for(tmp_path):
    lock = {"version": "0.5", "requires": ["zlib/1.3.1"], "build_requires": ["cmake/3.30"],
            "python_requires": ["shared/1.0"], "config_requires": ["setup/2.0"]}  # fmt: skip
    path = tmp_path / "conan.lock"
    assert purls(found(path, json.dumps(lock))) == [
        "pkg:conan/zlib@1.3.1",
        "pkg:conan/cmake@3.30",
        "pkg:conan/shared@1.0",
        "pkg:conan/setup@2.0",
    ]
    listed = files.read(path)
    assert [one.name for one in listed.items] == ["zlib"]
    assert "shared: code that recipes run" in listed.skipped
    del lock["requires"]
    assert "pkg:conan/shared@1.0" in purls(found(path, json.dumps(lock)))
    for key in ("build_requires", "python_requires", "config_requires"):
        with pytest.raises(Refusal, match=f"its {key} are no list"):
            found(path, json.dumps({"requires": [], key: "x/1"}))


POM = """\
<project><parent><groupId>o</groupId><artifactId>above</artifactId><version>7</version></parent>
<properties><v>2</v></properties>
<dependencies><dependency><groupId>a</groupId><artifactId>b</artifactId><version>${v}</version></dependency>
<dependency><groupId>a</groupId><artifactId>new</artifactId><version>RELEASE</version></dependency>
<dependency><groupId>a</groupId><artifactId>last</artifactId><version>LATEST</version></dependency></dependencies>
<build><extensions><extension><groupId>e</groupId><artifactId>e</artifactId><version>1</version></extension>
</extensions><pluginManagement><plugins><plugin><artifactId>maven-jar-plugin</artifactId><version>3.4</version>
</plugin></plugins></pluginManagement><plugins><plugin><artifactId>maven-jar-plugin</artifactId><dependencies>
<dependency><groupId>q</groupId><artifactId>q</artifactId><version>1</version></dependency></dependencies></plugin>
</plugins></build>
<profiles><profile><id>old</id><properties><v>1</v></properties><dependencies><dependency><groupId>log4j</groupId>
<artifactId>log4j</artifactId><version>1.2</version></dependency></dependencies></profile></profiles></project>
"""


def test_profiles_plugins_extensions_and_the_parent_of_a_pom_are_audited_and_not_asked_for(tmp_path):
    path = tmp_path / "pom.xml"
    into = found(path, POM)
    assert sorted(purls(into)) == [
        "pkg:maven/a/b@1",
        "pkg:maven/a/b@2",
        "pkg:maven/e/e@1",
        "pkg:maven/log4j/log4j@1.2",
        "pkg:maven/o/above@7",
        "pkg:maven/org.apache.maven.plugins/maven-jar-plugin@3.4",
        "pkg:maven/q/q@1",
    ]
    assert [one.what for one in into.left] == ["a:new", "a:last"]
    assert "nor what its parent and its modules ask for" in into.unseen[0]
    with pytest.raises(Refusal, match="RELEASE"):
        files.read(path)
    path.write_text(POM.replace("RELEASE", "1").replace("LATEST", "1"))
    listed = files.read(path)
    assert [(one.name, one.version) for one in listed.items] == [
        ("a:b", "2"),
        ("a:new", "1"),
        ("a:last", "1"),
    ]
    assert "log4j:log4j: only in the profile old" in listed.skipped


def test_a_pom_of_too_many_profiles_is_refused(tmp_path):
    with pytest.raises(Refusal, match="profiles"):
        found(tmp_path / "pom.xml", f"<project><profiles>{'<profile/>' * 65}</profiles></project>")


def pom(version, properties="", name="b"):
    return (
        f"<project><properties>{properties}</properties><dependencies><dependency><groupId>g</groupId>"
        f"<artifactId>{name}</artifactId><version>{version}</version></dependency></dependencies></project>"
    )


def test_a_pom_that_repeats_a_long_property_fills_in_nothing(tmp_path):
    """660 KB that came to 20 GB: what is too long is seen before the work and not behind it."""
    with pytest.raises(Refusal, match="a coordinate has more than 1,000 characters"):
        found(tmp_path / "pom.xml", pom("${a}" * 40_000, f"<a>{'x' * 500_000}</a>"))
    with pytest.raises(Refusal, match="a coordinate has more than 1,000 characters"):
        found(tmp_path / "pom.xml", pom("1", name="x" * 1_001))
    for value in ("x" * 1_001, "x" * 999):  # too long for one; short, and too long where it stands often
        into = found(tmp_path / "pom.xml", pom("${a}" * 200, f"<a>{value}</a>"))
        assert [one.what for one in into.left] == ["g:b"]
    inside = pom("${project.artifactId}", name="b").replace(
        "<project>", f"<project><artifactId>{'x' * 5_000}</artifactId>"
    )
    assert [one.what for one in found(tmp_path / "pom.xml", inside).left] == ["g:b"]


def test_properties_that_double_each_other_end(tmp_path):
    doubling = "".join(f"<p{n}>{f'${{p{n + 1}}}' * 8}</p{n}>" for n in range(30))
    into = found(tmp_path / "pom.xml", pom("${p0}", doubling))
    assert [one.what for one in into.left] == ["g:b"]
    chain = "".join(f"<p{n}>${{p{n + 1}}}</p{n}>" for n in range(15)) + "<p15>1.5</p15>"
    assert purls(found(tmp_path / "pom.xml", pom("${p0}", chain))) == ["pkg:maven/g/b@1.5"]


def test_a_pom_whose_profiles_ask_for_everything_again_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(lists.pom, "MAX_ASKED", Limit(20, "for the test"))
    profiles = "".join(f"<profile><properties><v>{n}</v></properties></profile>" for n in range(30))
    text = pom("${v}").replace("</project>", f"<profiles>{profiles}</profiles></project>")
    with pytest.raises(Refusal, match="asks for more than 20 packages"):
        found(tmp_path / "pom.xml", text)


@pytest.mark.parametrize(
    "body",
    [
        "<dependencies>" + "<dependency/>" * 300_000 + "</dependencies>",
        "<version/>" * 300_000,
    ],
    ids=["things asked for", "anything"],
)
def test_a_pom_of_more_elements_than_any_is_refused_while_it_is_read(tmp_path, body):
    """8 MiB of the first took 5 s and 350 MB before anything was counted."""
    with pytest.raises(Refusal, match="more than 200,000 elements"):
        found(tmp_path / "pom.xml", f"<project>{body}</project>")


def test_a_line_of_spaces_or_of_one_long_word_takes_no_time(tmp_path):
    """Each took hours: a comment was tried from each of its spaces, and a long word cut into words letter by letter."""
    spaces = " " * 4_000_000
    with pytest.raises(Refusal, match="line 1 is no requirement"):
        found(tmp_path / "requirements.txt", f"a{spaces}b")
    assert purls(found(tmp_path / "requirements.txt", f"a==1{spaces}# b\n{spaces}# c\\\nb==2")) == [
        "pkg:pypi/a@1",
        "pkg:pypi/b@2",
    ]
    into = found(tmp_path / "requirements.txt", f"--{'a' * 4_000_000}\nb==2\n")
    assert purls(into) == ["pkg:pypi/b@2"]


def lines(into):
    return [place.line for one in into.components for place in one.places]


def test_lines_are_those_of_an_editor_whatever_python_takes_for_an_end(tmp_path):
    """An alert of code scanning must land on the line that names the version."""
    path = tmp_path / "any"
    assert lines(found(path, "# a\u2028b\nidna==3.1\n# \x0c\x1c\x85\nsix==1\\\n\nclick==8\n")) == [2, 4, 6]
    path.write_bytes(b"# a\r\nidna==3.1\r\n\r\nsix==1")
    into = Gathered()
    kinds.read(path, "any", into)
    assert lines(into) == [2, 4]
    assert lines(found(path, "# a\u2028# b\na:b:1=x\nempty=\n")) == [2]
    conan = '{"version": "0.5", "x": "\u2028",\n"requires":\n["zlib/1.3"]}'
    assert lines(found(path, conan)) == [3]


@pytest.mark.parametrize("head", [" [[package]]", "[[ package ]]", '[["package"]]'])
def test_a_package_in_a_text_of_a_lock_moves_no_line(tmp_path, head):
    text = f'lock-version = "2.0"\ncontent-hash = """\n[[package]]\n"""\n{head}\nname = "idna"\nversion = "3.1"\n'
    assert lines(found(tmp_path / "any", text)) == [0]  # better none than a wrong one
