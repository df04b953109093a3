"""CycloneDX in XML: what its JSON would come to, and nothing of what XML can do besides."""

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.consumers.documents import bomxml, lines, sboms, statements
from pyrsia.consumers.documents.component import Component
from pyrsia.consumers.documents.outcome import Tally
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_DOCUMENT_BYTES, Limit

SUM = "ab" * 32
BOM = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- what <bom> means -->
<bom xmlns="http://cyclonedx.org/schema/bom/VERSION" xmlns:x="urn:x" serialNumber="urn:uuid:1" version="1">
  <metadata>
    <tools><components><component type="application"><name>maker</name><purl>pkg:pypi/maker@1</purl></component>
    </components></tools>
    <component bom-ref="app"><name>app</name><version>1</version><purl>pkg:pypi/app@1</purl></component>
  </metadata>
  <components>
    <component type="library" bom-ref="one">
      <name>Django</name>
      <version>4.2.0</version>
      <hashes><hash alg="SHA-1">00</hash><hash alg="SHA-256">SUM</hash></hashes>
      <licenses><license><id>BSD-3-Clause</id></license><license><name>Mine</name></license></licenses>
      <purl>pkg:pypi/Django@4.2.0</purl>
      <pedigree><ancestors><component><name>no</name><purl>pkg:pypi/no@1</purl></component></ancestors></pedigree>
      <components>
        <component type="library"><group>org.a</group><name>b</name><version>1</version>
          <licenses><expression>MIT OR Apache-2.0</expression></licenses>
          <purl>pkg:maven/org.a/b@1?type=jar&amp;a=<![CDATA[b]]></purl></component>
      </components>
    </component>
    <x:component><x:name>strange</x:name><x:purl>pkg:pypi/strange@1</x:purl></x:component>
    <component type="file"><name> bare
    </name></component>
  </components>
  <vulnerabilities>
    <vulnerability>
      <id>CVE-1</id><updated>2026-01-02T03:04:05Z</updated>
      <analysis><state>not_affected</state><justification>code_not_reachable</justification>
        <detail>we call none of it</detail></analysis>
      <affects><target><ref>one</ref><versions><version><version>4.2.1</version><status>affected</status></version>
        <version><range>vers:pypi/&lt;4</range></version></versions></target>
        <target><ref>app</ref></target></affects>
    </vulnerability>
  </vulnerabilities>
</bom>
""".replace("SUM", SUM.upper())


@pytest.fixture
def written(tmp_path):
    def write(value):
        path = tmp_path / "bom.xml"
        path.write_bytes(value if isinstance(value, bytes) else value.encode())
        return path

    return write


@pytest.mark.parametrize("version", ["1.2", "1.4", "1.5", "1.6"])
def test_components_are_read_with_those_inside_them_and_no_others(written, version):
    path = written(BOM.replace("VERSION", version))
    assert sboms.format_of(path) == "cyclonedx"
    assert sboms.described(path) == ("cyclonedx", 3)
    found = list(sboms.components(path, whole=True))
    assert found == [
        Component("pkg:pypi/app@1", "app", "1", "", ""),
        Component("pkg:pypi/django@4.2.0", "Django", "4.2.0", SUM, "BSD-3-Clause AND Mine"),
        Component("pkg:maven/org.a/b@1", "org.a/b", "1", "", "MIT OR Apache-2.0"),
        Component("", "bare", "", "", ""),
    ]
    assert [(one.ref, one.line) for one in found] == [("app", 7), ("one", 10), ("", 18), ("", 0)]
    assert list(sboms.components(path)) == found[1:]


def test_a_prefix_before_every_name_changes_nothing(written):
    plain = BOM.replace("VERSION", "1.6")
    prefixed = re.sub(r"<(/?)(?=[a-z])(?!x:)", r"<\1c:", plain).replace("<!-- what <c:bom", "<!-- what <bom")
    prefixed = prefixed.replace("xmlns=", "xmlns:c=")
    assert list(sboms.components(written(prefixed))) == list(sboms.components(written(plain)))


def test_analyses_are_statements_about_their_components(written):
    tally = Tally()
    facts = statements.read([written(BOM.replace("VERSION", "1.5"))], tally)
    assert [(one.subject, one.text, dict(one.fields)) for one in facts] == [
        (
            subject,
            "we call none of it",
            {
                "advisory": "CVE-1",
                "outcome": "not-affected",
                "justification": "vulnerable-code-not-in-execute-path",
            },
        )
        for subject in ("pkg:pypi/django@4.2.1", "pkg:pypi/app@1")
    ]
    assert tally.skipped == {"a product without a purl, or a range of versions": 1}


NS = 'xmlns="http://cyclonedx.org/schema/bom/1.6"'


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("<bom/>", "its root is 'bom'; CycloneDX has bom of http://cyclonedx.org/schema/bom/1.6"),
        ('<bom xmlns="http://cyclonedx.org/schema/bom/2.0"/>', "its root is 'bom' of http://cyclonedx.org/schema/bom/2.0"),
        (f"<bom {NS}>", "it is no XML: no element found"),
        (f"<bom {NS}><components></bom>", "it is no XML: mismatched tag: line 1"),
        (f'<!DOCTYPE bom [<!ENTITY a "b">]><bom {NS}>&a;</bom>', "it declares a document type"),
        (f'<!DOCTYPE bom SYSTEM "http://127.0.0.1:1/x.dtd"><bom {NS}/>', "it declares a document type"),
        (f"<bom {NS}>&a;</bom>", "it is no XML: undefined entity"),
        (f'<?xml version="1.0" encoding="ISO-8859-1"?><bom {NS}/>', "it is in ISO-8859-1: only UTF-8 is read"),
        (f"<bom {NS}>".encode() + b"\xff</bom>", "it is no XML: not well-formed"),
        (f"<bom {NS}>" + "<components><component>" * 300, "its elements nest too deeply"),
        (f"<bom {NS}>" + "<x>" * 600, "line 1: its elements nest too deeply"),
        ("<html><body/></html>", "its root is 'html', and CycloneDX has 'bom'"),
        ("<!-- <bom> -->", "its root is 'nothing'"),
        (f'<rdf:RDF xmlns:rdf="x" {NS}/>', "it is SPDX, but not in JSON"),
    ],
)  # fmt: skip
def test_what_is_no_such_document_is_refused_before_the_first_component(written, value, why):
    for call in (sboms.components, sboms.described):
        with pytest.raises(Refusal) as caught:
            call(written(value))
        assert caught.value.code == "bad-request"
        assert why in caught.value.what


def test_a_document_of_a_hundred_megabytes_is_refused_with_a_sentence(written):
    path = written(f"<bom {NS}><components>")
    with path.open("r+b") as file:
        file.truncate(100_000_000)
    for call in (sboms.components, sboms.described):
        with pytest.raises(Refusal, match=r"has 100,000,000 bytes, 67,108,864 are read of one") as caught:
            call(path)
        assert caught.value.code == "too-large"
    assert MAX_DOCUMENT_BYTES.value == 67_108_864


def test_more_elements_and_attributes_than_anybody_means_are_refused(monkeypatch):
    many = f"<bom {NS}><components>{'<component/>' * 60}</components></bom>".encode()
    assert len(bomxml.read(many)[0].components) == 60
    attributes = " ".join(f"a{number}='1'" for number in range(60))
    wide = f"<bom {NS} {attributes}/>".encode()
    bomxml.read(wide)
    for name, data in (("MAX_ELEMENTS", many), ("MAX_ATTRIBUTES", wide)):
        with monkeypatch.context() as patched:
            patched.setattr(bomxml, name, Limit(50, "for a test"))
            with pytest.raises(Malformed, match="50"):
                bomxml.read(data)


def test_lists_that_stand_twice_and_fields_that_stand_twice_hide_nothing(written):
    one, two = (f"<components><component><purl>pkg:pypi/{n}@1</purl></component></components>" for n in "ab")
    path = written(f"<bom {NS}>{one}{two}</bom>")
    assert [it.purl for it in sboms.components(path)] == ["pkg:pypi/a@1", "pkg:pypi/b@1"]


NAMES = ("components", "component", "purl", "name", "licenses", "license", "id", "hashes", "hash", "metadata",
         "vulnerabilities", "vulnerability", "affects", "target", "ref", "versions", "version", "bom")  # fmt: skip
TREE = st.recursive(
    st.text(alphabet="pkg:pypi/a@1 \n", max_size=8),
    lambda inner: st.tuples(st.sampled_from(NAMES), st.lists(inner, max_size=4)),
    max_leaves=12,
)


def _xml(tree):
    return tree if isinstance(tree, str) else f"<{tree[0]}>{''.join(map(_xml, tree[1]))}</{tree[0]}>"


@given(st.lists(TREE, max_size=4))
def test_whatever_stands_inside_it_is_read_or_refused(tmp_path_factory, trees):
    path = tmp_path_factory.mktemp("any") / "bom.xml"
    path.write_text(f"<bom {NS}>{''.join(map(_xml, trees))}</bom>")
    found = list(sboms.components(path))
    assert sboms.described(path)[1] == len(found)
    statements.read([path], Tally())


@given(st.binary(max_size=200))
def test_whatever_bytes_stand_there_they_are_read_or_refused(data):
    assert isinstance(bomxml.root(data), str)
    with contextlib.suppress(Malformed):
        bomxml.read(f"<bom {NS}>".encode() + data)


def test_lines_of_purls_are_those_on_which_they_are_first_named():
    def wrote(indent):
        purls = ["pkg:pypi/a@1", "pkg:pypi/\u20ac", 'pkg:"x"', "pkg:pypi/a@1"]
        return json.dumps({"components": [{"purl": one} for one in purls], "purl": 1}, indent=indent).encode()

    assert lines.of_purls(wrote(None)) == {"pkg:pypi/a@1": 1, "pkg:pypi/\u20ac": 1, 'pkg:"x"': 1}
    assert lines.of_purls(wrote(1)) == {"pkg:pypi/a@1": 4, "pkg:pypi/\u20ac": 7, 'pkg:"x"': 10}
    assert lines.of_purls(b'"purl": "\\x", "purl"\n:\n"b"') == {"": 1, "b": 3}


def test_lines_are_told_of_so_many_purls_and_no_more(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINED", Limit(2, "for a test"))
    assert lines.of_purls(b'"purl":"a" "purl":"b" "purl":"c"') == {"a": 1, "b": 1}


def test_a_value_as_long_as_a_document_is_passed_over_without_being_remembered_place_by_place():
    """It took 4 GB once."""
    resource = pytest.importorskip("resource")
    data = b'{"purl": "' + b"x" * 30_000_000 + b'", "purl":\n "a"}'
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = lines.of_purls(data)
    assert found["a"] == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
