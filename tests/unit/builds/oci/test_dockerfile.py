"""The part of the Dockerfile language that is taken, and every refusal with its line and what to do instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.oci import dockerfile
from pyrsia.builds.oci.dockerfile import Copy, Recipe, Refused, config_of

HEX = "ab" * 32
WHOLE = f"""# syntax=docker/dockerfile:1
FROM rootfs:{HEX} AS only
ARG TARGETARCH
ENV APP=/srv/app NAME="a b" \\
    # a comment inside
    LAST='$raw'
LABEL org.opencontainers.image.title="An app" note=x
WORKDIR $APP
COPY bin/tool-${{TARGETARCH}} bin/tool
COPY ["with space.txt", "./"]
COPY --from=sha256:{HEX} . /usr/lib/python3/
EXPOSE 8080 53/udp
USER 1000:1000
ENTRYPOINT ["/srv/app/bin/tool"]
CMD serve --port 8080
"""


def read(text: str, platform: str = "linux/amd64") -> Recipe:
    return dockerfile.read(text.encode(), platform)


def test_everything_that_is_taken_is_read():
    found = read(WHOLE)

    assert found.base == f"rootfs:{HEX}"
    assert found.env == {"APP": "/srv/app", "NAME": "a b", "LAST": "$raw"}
    assert found.labels == {"org.opencontainers.image.title": "An app", "note": "x"}
    assert (found.workdir, found.folders, found.user) == ("/srv/app", ["/srv/app"], "1000:1000")
    assert found.ports == ["8080/tcp", "53/udp"]
    assert found.entrypoint == ["/srv/app/bin/tool"]
    assert found.command == ["/bin/sh", "-c", "serve --port 8080"]
    assert [(one.sources, one.target, one.origin) for one in found.copies] == [
        (("bin/tool-amd64",), "/srv/app/bin/tool", ""),
        (("with space.txt",), "/srv/app/", ""),
        ((".",), "/usr/lib/python3/", HEX),
    ]


def test_a_platform_fills_its_own_words():
    text = "FROM scratch\nARG TARGETARCH\nARG TARGETVARIANT\nCOPY a-$TARGETARCH$TARGETVARIANT /a\n"

    assert read(text, "linux/arm/v7").copies[0].sources == ("a-armv7",)
    assert read(text, "linux/arm64").copies[0].sources == ("a-arm64",)


@pytest.mark.parametrize(
    ("line", "do"),
    [
        ("RUN apt-get update", "nothing runs while an image is composed"),
        ("ADD https://example.org/x /x", "publish what stands at a URL"),
        ("ARG VERSION=1", "write the value itself"),
        ("ARG TARGETARCH=amd64", "write the value itself"),
        ("VOLUME /data", "name volumes where the image is run"),
        ("HEALTHCHECK CMD true", "where the image is run"),
        ("SHELL ['x']", "as JSON lists"),
        ("FROM scratch", "COPY it --from its digest"),
        ("COPY --chown=1:1 a /a", "owners are 0:0"),
        ("COPY --from=builder a /a", "name a published file by its digest"),
        ("COPY a", "write COPY source target"),
        ("COPY a b /c", "end the target with /"),
        ("COPY ../a /a", "name what is below it"),
        ("COPY a /../../b", "name an absolute path"),
        ("COPY <<EOF /a", "into a file of the source"),
        ("COPY $WHAT /a", "set it with ENV above"),
        ("COPY ${WHAT:-x} /a", "set it with ENV above"),
        ("ENV 1A=x", "write ENV key=value"),
        ("ENV A", "write ENV key=value"),
        ('ENV A="x', "close it"),
        ("LABEL a", "write LABEL key=value"),
        ("EXPOSE 99999", "write EXPOSE 8080"),
        ("EXPOSE http", "write EXPOSE 8080"),
        ("USER a b", "write USER name"),
        ("WORKDIR ../..", "name an absolute path"),
        ("FETCH x", "leave it out"),
        ("ENTRYPOINT", "complete it"),
    ],
)
def test_what_is_not_taken_is_refused_with_its_line_and_what_to_do_instead(line: str, do: str):
    with pytest.raises(Refused) as caught:
        read(f"FROM scratch\n# a comment\n\n{line}\n")

    assert caught.value.line == 4
    assert "line 4" in str(caught.value)
    assert do in caught.value.do


@pytest.mark.parametrize(
    "base",
    ["debian", "debian:12", "rootfs:12", "debian@sha256:12", "--platform=linux/arm64 scratch", "scratch AS"],
)
def test_a_base_without_a_digest_is_refused(base: str):
    with pytest.raises(Refused) as caught:
        read(f"FROM {base}\n")
    assert caught.value.line == 1


@pytest.mark.parametrize("text", ["", "# nothing\n", "COPY a b\nFROM scratch\n", "\xff"])
def test_a_file_without_a_base_first_is_refused(text: str):
    with pytest.raises(Refused):
        dockerfile.read(text.encode("latin-1"), "linux/amd64")


@given(st.lists(st.text(max_size=60), max_size=12))
def test_no_text_does_anything_but_read_or_be_refused(lines: list[str]):
    text = "FROM scratch\n" + "\n".join(lines)
    try:
        found = read(text)
    except (Refused, UnicodeEncodeError):
        return
    assert all(one.target.startswith("/") and ".." not in one.target.split("/") for one in found.copies)


@given(st.from_regex(r"[A-Za-z0-9 \"'\\=$]{0,30}", fullmatch=True))
def test_a_value_never_becomes_an_instruction(value: str):
    try:
        found = read(f"FROM scratch\nENV A={value or 'x'}\nCOPY a /a\n")
    except Refused:
        return
    assert len(found.copies) <= 1
    assert all(isinstance(step, Copy) or step.startswith("ENV") for step in found.steps)


def test_settings_of_a_base_stay_but_for_what_is_set_here():
    base = {"Env": ["PATH=/x", "A=1"], "Cmd": ["old"], "Labels": {"a": "1"}, "User": "root"}

    found = config_of(read('FROM scratch\nENV A=2 B=3\nENTRYPOINT ["/e"]\nLABEL b=2\nCOPY a /a'), base)

    assert found == {
        "Env": ["PATH=/x", "A=2", "B=3"],
        "Entrypoint": ["/e"],
        "Labels": {"a": "1", "b": "2"},
        "User": "root",
    }
    assert config_of(read("FROM scratch\nCOPY a /a"), base)["Cmd"] == ["old"]
    assert config_of(read("FROM scratch\nCOPY a /a"), {})["Env"] == [f"PATH={dockerfile.DEFAULT_PATH}"]
