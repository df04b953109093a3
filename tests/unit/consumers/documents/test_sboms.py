"""Components of SBOMs as tools write them, and as nobody should."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.consumers.documents import reading, sboms, spdx
from pyrsia.consumers.documents.component import Component
from pyrsia.errors import Refusal
from pyrsia.units import Limit

SUM = "ab" * 32
CYCLONEDX = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "metadata": {"component": {"type": "application", "name": "app", "purl": "pkg:pypi/app@1"}},
    "components": [
        {
            "name": "Django",
            "version": "4.2.0",
            "purl": "pkg:pypi/Django@4.2.0",
            "hashes": [{"alg": "SHA-1", "content": "x"}, {"alg": "SHA-256", "content": SUM.upper()}],
            "licenses": [{"license": {"id": "BSD-3-Clause"}}, {"expression": "MIT OR Apache-2.0"}],
            "components": [
                {"group": "org.a", "name": "b", "version": "1", "purl": "pkg:maven/org.a/b@1?type=jar"}
            ],
        },
        {"name": "own", "version": None, "licenses": [{"license": {"name": "My licence"}}]},
    ],
}
SPDX = {
    "spdxVersion": "SPDX-2.3",
    "documentDescribes": ["SPDXRef-root"],
    "packages": [
        {"SPDXID": "SPDXRef-root", "name": "app"},
        {
            "SPDXID": "SPDXRef-1",
            "name": "zlib",
            "versionInfo": "1.3",
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "Zlib",
            "checksums": [{"algorithm": "SHA256", "checksumValue": SUM}],
            "externalRefs": [
                {"referenceType": "cpe23Type", "referenceLocator": "cpe:x"},
                {"referenceType": "purl", "referenceLocator": "pkg:conan/zlib@1.3"},
            ],
        },
    ],
}
SPDX3 = {
    "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
    "@graph": [
        {"type": "CreationInfo"},
        {
            "type": "software_Package",
            "name": "idna",
            "software_packageVersion": "3.10",
            "software_packageUrl": "pkg:pypi/idna@3.10",
            "verifiedUsing": [{"type": "Hash", "algorithm": "sha256", "hashValue": SUM}],
        },
        {
            "type": "software_Package",
            "name": "x",
            "externalIdentifier": [{"externalIdentifierType": "packageUrl", "identifier": "pkg:npm/x@1"}],
        },
    ],
}


@pytest.fixture
def written(tmp_path):
    def write(value):
        path = tmp_path / "bom.json"
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        return path

    return write


def test_components_of_cyclonedx_are_read_with_those_inside_them(written):
    path = written(CYCLONEDX)
    assert sboms.format_of(path) == "cyclonedx"
    assert list(sboms.components(path)) == [
        Component("pkg:pypi/django@4.2.0", "Django", "4.2.0", SUM, "BSD-3-Clause AND (MIT OR Apache-2.0)"),
        Component("pkg:maven/org.a/b@1", "org.a/b", "1", "", ""),
        Component("", "own", "", "", "My licence"),
    ]  # fmt: skip


def test_packages_of_spdx_2_are_read_without_what_the_document_is_about(written):
    path = written(SPDX)
    assert sboms.format_of(path) == "spdx"
    assert list(spdx.components(path)) == [Component("pkg:conan/zlib@1.3", "zlib", "1.3", SUM, "Zlib")]


def test_packages_of_a_graph_of_spdx_3_are_read(written):
    path = written(SPDX3)
    assert list(sboms.components(path)) == [
        Component("pkg:pypi/idna@3.10", "idna", "3.10", SUM, ""),
        Component("pkg:npm/x@1", "x", "", "", ""),
    ]


def test_packages_of_every_profile_of_spdx_3_and_whatever_has_a_purl_are_read(written):
    """An AI package was passed over in silence, and an audit without it said that nothing was found."""
    elements = [
        {"type": "ai_AIPackage", "name": "torch", "software_packageUrl": "pkg:pypi/torch@1.0"},
        {"type": "https://spdx.org/rdf/3.0.1/terms/Dataset/DatasetPackage", "name": "no purl"},
        {"type": ["software_Package"], "software_packageUrl": "pkg:pypi/g@1.0"},
        {
            "type": "software_File",
            "externalIdentifier": [
                {"externalIdentifierType": "packageUrl", "identifier": "pkg:pypi/f@1.0"},
                {"externalIdentifierType": "cpe23", "identifier": "cpe:x"},
            ],
        },
        {"type": "software_File", "name": "plain"},
        {"type": [None, 3, "Relationship"]},
        {"type": {"a": "Package"}},
    ]
    path = written({"@context": SPDX3["@context"], "@graph": elements})
    found = list(sboms.components(path))
    assert [one.purl for one in found] == ["pkg:pypi/torch@1.0", "", "pkg:pypi/g@1.0", "pkg:pypi/f@1.0"]
    assert found[1].name == "no purl"
    assert spdx.count(path) == 4


def test_a_purl_of_spdx_2_may_name_its_type_as_an_address(written):
    external = {"referenceType": "http://spdx.org/rdf/references/purl", "referenceLocator": "pkg:pypi/a@1"}
    path = written({"spdxVersion": "SPDX-2.3", "packages": [{"name": "a", "externalRefs": [external]}]})
    assert [one.purl for one in sboms.components(path)] == ["pkg:pypi/a@1"]


@pytest.mark.parametrize(
    "value",
    [
        b"", b"<bom/>", b"[]", b"\xff", {}, {"bomFormat": "x"}, {"spdxVersion": "SPDX-1.0"}, {"spdxVersion": 2},
        {"bomFormat": "CycloneDX", "specVersion": "2.0"},
        {"bomFormat": "CycloneDX", "components": {}}, {"bomFormat": "CycloneDX", "components": [[]]},
        b'{"bomFormat":"CycloneDX","components":[' + b'{"components":[' * 50_000,
        {"@context": "https://spdx.org/rdf/3.0.1/x"},
    ],
)  # fmt: skip
def test_what_is_no_sbom_is_refused_before_the_first_component(written, value):
    with pytest.raises(Refusal) as caught:
        sboms.components(written(value))
    assert caught.value.code == "bad-request"


def test_a_document_that_is_too_large_is_refused_by_its_size(written, monkeypatch):
    monkeypatch.setattr(reading.whole, "__defaults__", (100,))
    with pytest.raises(Refusal, match="100 are read") as caught:
        sboms.components(written(CYCLONEDX))
    assert caught.value.code == "too-large"


def test_more_values_than_anybody_means_are_refused_before_they_are_made(written, monkeypatch):
    many = b'{"bomFormat":"CycloneDX","components":[' + b"{}," * 400_000 + b"{}]}"
    assert sboms.described(written(many)) == ("cyclonedx", 400_001)
    for name, more in (("MAX_NESTED", many), ("MAX_PARTED", b'{"bomFormat":[' + b"0," * 600_000 + b"0]}")):
        with monkeypatch.context() as patched:
            patched.setattr(reading, name, Limit(400_000, "for a test"))
            for call in (sboms.described, sboms.components):
                with pytest.raises(Refusal, match="are read of one document"):
                    call(written(more))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    "components",
                    "purl",
                    "name",
                    "hashes",
                    "licenses",
                    "license",
                    "packages",
                    "SPDXID",
                    "externalRefs",
                    "@graph",
                    "type",
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(("CycloneDX", "SPDX-2.3", "graph")), st.dictionaries(st.text(max_size=3), JSON), JSON)
def test_whatever_a_document_holds_it_is_read_or_refused(tmp_path_factory, sort, more, inside):
    value = {**more, "components": inside, "packages": inside, "@graph": inside}
    if sort == "graph":
        value["@context"] = SPDX3["@context"]
    else:
        value["bomFormat" if sort == "CycloneDX" else "spdxVersion"] = sort
    path = tmp_path_factory.mktemp("any") / "bom.json"
    path.write_text(json.dumps(value))
    try:
        found = list(sboms.components(path))
        for one in found:
            assert all(
                isinstance(part, str) for part in (one.purl, one.name, one.version, one.sha256, one.licence)
            )
        assert sboms.described(path)[1] == len(found)
    except Refusal as refusal:
        assert refusal.code == "bad-request"  # noqa: PT017
