"""What packages say of themselves: as a fact can hold it, and nothing of what cannot be read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds import describing
from pyrsia.builds.describing import MAX_POM_BYTES, MAX_POM_ELEMENTS, Description
from pyrsia.errors import Malformed
from pyrsia.ledger.bodies.facts import AUTHORED

FIELDS = ["Summary", "Home-page", "Keywords", "License", "License-Expression", "Classifier", "Project-URL"]
check = AUTHORED["fact.add"]


def wheel(*lines):
    return "\n".join(["Metadata-Version: 2.4", "Name: idna", "Version: 1.0", *lines, "", "text"]).encode()


def test_a_wheel_says_what_it_is_where_it_lives_and_how_it_is_licensed():
    said = describing.of_wheel(
        wheel(
            "Summary: Names  of hosts",
            "Project-URL: Changelog, https://example.org/changes",
            "Project-URL: Home Page, https://example.org/",
            "Keywords: dns, names,dns,,",
            "License-Expression: mit OR apache-2.0",
        )
    )
    assert said == Description(
        "Names of hosts", "https://example.org/", ("dns", "names"), "MIT OR Apache-2.0", "mit OR apache-2.0"
    )
    assert (
        describing.of_wheel(wheel("Project-URL: Homepage, https://example.org/")).homepage
        == "https://example.org/"
    )


@pytest.mark.parametrize(
    ("lines", "expression", "text"),
    [
        (["Classifier: License :: OSI Approved :: MIT License"], "MIT", "MIT License"),
        (["Classifier: License :: OSI Approved :: BSD License"], "", "BSD License"),
        (
            [
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: BSD License",
            ],
            "",
            "MIT License, BSD License",
        ),
        (["License: GNU something of ours"], "", "GNU something of ours"),
        (["License: ISC"], "ISC", "ISC"),
        (["License: UNKNOWN"], "", ""),
        (["License-Expression: MIT AND"], "", "MIT AND"),
    ],
)
def test_no_licence_is_guessed(lines, expression, text):
    said = describing.of_wheel(wheel(*lines))
    assert (said.licence, said.licence_text) == (expression, text)


def test_a_pom_says_the_same_without_its_parent():
    said = describing.of_pom(
        b"<project xmlns='http://maven.apache.org/POM/4.0.0'><name>io</name><description>streams\n and files"
        b"</description><url>${home}</url><scm><url>https://example.org/io</url></scm><licenses><license>"
        b"<name>Apache-2.0</name></license></licenses></project>"
    )
    assert said == Description("streams and files", "https://example.org/io", (), "Apache-2.0", "Apache-2.0")
    names = b"".join(b"<license><name>%s</name></license>" % one for one in (b"MIT", b"ISC"))
    assert describing.of_pom(b"<project><licenses>%s</licenses></project>" % names) == Description(
        licence_text="MIT, ISC"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<project>",
        b"<!DOCTYPE p [<!ENTITY a 'b'>]><project><name>&a;</name></project>",
        b"<a>" * 5_000,
        b"<project>" + b"<a/>" * (MAX_POM_ELEMENTS.value + 1) + b"</project>",
        b" " * (MAX_POM_BYTES.value + 1),
    ],
    ids=["nothing", "half", "entities", "deep", "wide", "long"],
)
def test_a_pom_that_is_none_is_refused(data):
    with pytest.raises(Malformed):
        describing.of_pom(data)


def test_an_image_speaks_by_its_labels():
    labels = {
        "org.opencontainers.image.title": "tool",
        "org.opencontainers.image.licenses": "MIT",
        "other": 1,
    }
    assert describing.of_image(json.dumps({"config": {"Labels": labels}}).encode()) == Description(
        "tool", "", (), "MIT", "MIT"
    )
    for odd in (
        {},
        {"config": None},
        {"config": {"Labels": []}},
        {"config": {"Labels": {"org.opencontainers.image.title": 3}}},
    ):
        assert describing.of_image(json.dumps(odd).encode()) == Description()
    for bad in (b"", b"[]", b"{" * 100_000, b"\xff{}"):
        with pytest.raises(Malformed):
            describing.of_image(bad)


def test_a_manifest_leads_to_its_configuration():
    digest = "ab" * 32
    assert describing.config_of(json.dumps({"config": {"digest": f"sha256:{digest}"}}).encode()) == digest
    for odd in ({}, {"manifests": []}, {"config": {"digest": "sha256:../etc"}}, {"config": []}):
        assert describing.config_of(json.dumps(odd).encode()) == ""


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "Summary",
                    "Home-page",
                    "Keywords",
                    "License",
                    "License-Expression",
                    "Classifier",
                    "Project-URL",
                ]
            ),
            st.text(max_size=300),
        ),
        max_size=8,
    )
)
def test_whatever_a_wheel_says_a_fact_can_hold_it(lines):
    said = describing.of_wheel(wheel(*(f"{name}: {text}" for name, text in lines)))
    check(
        {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": said.text, "valid_from": 1}
        | ({"homepage": said.homepage} if said.homepage else {})
        | ({"tags": list(said.tags)} if said.tags else {})
    )
    check(
        {"kind": "licence", "subject": "pkg:pypi/idna@1.0", "text": said.licence_text, "valid_from": 1}
        | ({"expression": said.licence} if said.licence else {})
    )
    assert said == describing.of_wheel(wheel(*(f"{name}: {text}" for name, text in lines)))
