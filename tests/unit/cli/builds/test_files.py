"""Lists of packages, read as data: what is asked for, what is left out with its reason, what is refused by its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.cli.builds.files import MAX_LISTED, Item, read
from pyrsia.errors import Refusal


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def refusal(path):
    with pytest.raises(Refusal) as caught:
        read(path)
    assert caught.value.code == "usage"
    return caught.value.what


REQUIREMENTS = """\
# what we need
requests==2.32.3  # pinned
Foo_Bar[extra] == 1.0 \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb
newest
requests==2.32.3
--index-url https://example.com/simple
-r other.txt
never==1.0 ; python_version < "3"
local @ file:///tmp/local-1.0.tar.gz
"""


def test_requirements_are_read_line_by_line(tmp_path):
    listed = read(write(tmp_path, "requirements.txt", REQUIREMENTS))
    assert listed.items == (
        Item("pip", "requests", "2.32.3"),
        Item("pip", "foo-bar", "1.0"),
        Item("pip", "newest", ""),
    )
    assert [one.split(":")[0] for one in listed.skipped] == ["line 8", "line 9", "line 10", "line 11"]
    assert "for this machine" in listed.skipped[2]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("requests>=2", "line 1 leaves the version of requests open"),
        ("requests==2.*", "leaves the version of requests open"),
        ("requests>=2,<3", "leaves the version of requests open"),
        ("what is this", "line 1 is no requirement"),
        ("../local/folder", "line 1 is no requirement"),
    ],
)
def test_a_requirement_that_leaves_something_open_is_refused_with_its_line(tmp_path, line, told):
    assert told in refusal(write(tmp_path, "requirements.txt", line))


UV = """\
version = 1
[[package]]
name = "idna"
version = "3.10"
source = { registry = "https://pypi.org/simple" }
sdist = { url = "https://example.com/idna-3.10.tar.gz", hash = "sha256:00", size = 1 }
[[package]]
name = "app"
version = "0.1.0"
source = { virtual = "." }
[[package]]
name = "tool"
version = "1"
source = { git = "https://example.com/tool?rev=1#abc" }
"""


def test_a_uv_lock_is_its_own_closure_and_what_is_of_no_index_is_left_out(tmp_path):
    listed = read(write(tmp_path, "uv.lock", UV))
    assert listed.items == (Item("pip", "idna", "3.10", closure=False),)
    assert listed.skipped == (
        "app: its source is virtual, and no index",
        "tool: its source is git, and no index",
    )


@pytest.mark.parametrize(
    "text", ["not = [toml", 'package = "x"', "package = [1]", "[[package]]\nversion = '1'"]
)
def test_what_is_no_uv_lock_is_refused(tmp_path, text):
    assert refusal(write(tmp_path, "uv.lock", text)).startswith("uv.lock: ")


CONAN = """\
{"version": "0.5",
 "requires": ["zlib/1.3.1#b8bc2603263cf7eccbd6e17e66b0ed76%1708593606.497", "own/1.0@me/stable#a", "plain/2"],
 "build_requires": ["cmake/3.30.1#x"], "python_requires": []}
"""


def test_a_conan_lock_lists_what_is_needed_at_run_time(tmp_path):
    listed = read(write(tmp_path, "conan.lock", CONAN))
    assert listed.items == (
        Item("conan", "zlib", "1.3.1", closure=False),
        Item("conan", "me/stable/own", "1.0", closure=False),
        Item("conan", "plain", "2", closure=False),
    )
    assert listed.skipped == ("cmake: a tool that only builds need",)


@pytest.mark.parametrize(
    "text", ["[", "[]", '{"requires": 1}', '{"requires": [1]}', '{"requires": ["a/b/c"]}']
)
def test_what_is_no_conan_lock_is_refused(tmp_path, text):
    assert refusal(write(tmp_path, "conan.lock", text)).startswith("conan.lock: ")


POM = """\
<?xml version="1.0"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <parent><groupId>org.demo</groupId><artifactId>above</artifactId><version>7</version></parent>
  <artifactId>app</artifactId>
  <properties><lang.version>3.17.0</lang.version><twice>${lang.version}</twice></properties>
  <dependencyManagement><dependencies>
    <dependency><groupId>org.demo</groupId><artifactId>managed</artifactId><version>2.0</version></dependency>
  </dependencies></dependencyManagement>
  <dependencies>
    <dependency><groupId>org.apache.commons</groupId><artifactId>commons-lang3</artifactId>
      <version>${twice}</version></dependency>
    <dependency><groupId>${project.groupId}</groupId><artifactId>managed</artifactId></dependency>
    <dependency><groupId>org.demo</groupId><artifactId>sibling</artifactId><version>${project.version}</version>
      <scope>runtime</scope></dependency>
    <dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>4</version><scope>test</scope></dependency>
    <dependency><groupId>o</groupId><artifactId>p</artifactId><version>1</version><optional>true</optional></dependency>
  </dependencies>
</project>
"""


def test_a_pom_lists_its_run_time_dependencies_with_properties_filled_in(tmp_path):
    listed = read(write(tmp_path, "pom.xml", POM))
    assert listed.items == (
        Item("maven", "org.apache.commons:commons-lang3", "3.17.0"),
        Item("maven", "org.demo:managed", "2.0"),
        Item("maven", "org.demo:sibling", "7"),
    )
    assert listed.skipped[:2] == ("junit:junit: scope test", "o:p: optional")
    assert listed.skipped[2:] == ("org.demo:above: it builds the project, and is no part of it",)


BOMB = """\
<!DOCTYPE project [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>
<project><dependencies>&b;</dependencies></project>
"""
FILE = '<!DOCTYPE project [<!ENTITY x SYSTEM "file:///etc/passwd">]><project>&x;</project>'
ENDLESS = (
    "<project><properties><a>${b}${b}</a><b>${a}${a}</b></properties><dependencies><dependency>"
    "<groupId>g</groupId><artifactId>x</artifactId><version>${a}</version></dependency></dependencies></project>"
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, "declares a document type"),
        (FILE, "declares a document type"),
        (ENDLESS, "no exact version"),
        ("<project>", "it is no XML"),
        ("", "it is no XML"),
        ("<settings/>", "its root is 'settings'"),
        ("<a>" * 200 + "</a>" * 200, "nest too deep"),
        (POM.replace("${twice}", "[1,2)"), "commons-lang3 has no exact version"),
        (POM.replace("${twice}", "${nowhere}"), "commons-lang3 has no exact version"),
    ],
    ids=["bomb", "file", "circle", "open", "empty", "settings", "deep", "range", "unknown"],
)
def test_a_pom_that_would_do_more_than_list_is_refused(tmp_path, text, told):
    assert told in refusal(write(tmp_path, "pom.xml", text))


def test_a_file_of_another_kind_of_another_encoding_or_of_too_much_is_refused(tmp_path):
    assert "does not say what it is" in refusal(write(tmp_path, "setup.py", "import os"))
    path = tmp_path / "requirements.txt"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refusal(path)
    assert "cannot be read" in refusal(tmp_path / "absent.txt")
    path.write_text("".join(f"p{n}==1\n" for n in range(MAX_LISTED.value + 1)))
    assert f"lists {MAX_LISTED.value + 1} packages" in refusal(path)


@given(st.text(max_size=200), st.sampled_from(["requirements.txt", "uv.lock", "pom.xml", "conan.lock"]))
def test_whatever_stands_in_a_file_it_is_read_or_refused(tmp_path_factory, text, name):
    path = tmp_path_factory.mktemp("any") / name
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        items = read(path).items
    except Refusal as refusal:
        items, codes = (), {refusal.code}
    else:
        codes = {"usage"}
    assert codes == {"usage"}
    assert all(item.name for item in items)
