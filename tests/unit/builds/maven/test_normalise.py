"""Jars: one canonical packing for one set of members, and nothing that hides a change."""

import hashlib
import io
import zipfile
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.maven import normalise, texts
from pyrsia.builds.members import Hostile, stable

EPOCH = 1_700_000_000
MANIFEST = "META-INF/MANIFEST.MF"
HEAD = b"Manifest-Version: 1.0\r\n"
PROPERTIES = "META-INF/maven/org.example/tool/pom.properties"


def pack(
    files: Mapping[str, bytes],
    *,
    time: tuple[int, ...] = (2024, 1, 1, 0, 0, 0),
    mode: int = 0o100644,
    deflated: bool = True,
) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as packed:
        for path, content in files.items():
            item = zipfile.ZipInfo(path, time)  # type: ignore[arg-type]
            item.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
            item.external_attr = (0o040755 if path.endswith("/") else mode) << 16
            packed.writestr(item, content)
    return data.getvalue()


def jar(**files: bytes) -> dict[str, bytes]:
    return {MANIFEST: HEAD + b"\r\n", "org/example/Tool.class": b"\xca\xfe\xba\xbe"} | files


def canonical(data: bytes) -> bytes:
    file, out = io.BytesIO(data), io.BytesIO()
    normalise.rewrite(file, normalise.inspect(file), out, EPOCH)
    return out.getvalue()


def digest(data: bytes) -> str:
    return stable(normalise.inspect(io.BytesIO(data)).canonical)


def lost(data: bytes) -> list[str]:
    return normalise.removed(normalise.inspect(io.BytesIO(data)), EPOCH)


NAMES = st.from_regex(r"(?:[a-z]{1,4}/){0,3}[a-z]{1,6}\.(?:class|txt)", fullmatch=True)


@given(st.dictionaries(NAMES, st.binary(max_size=40), max_size=6), st.randoms(use_true_random=False))
def test_order_time_compression_and_folders_are_packing_and_go(files: dict[str, bytes], random: object):
    names = {name.casefold() for name in files}
    files = {MANIFEST: HEAD + b"\r\n"} | {
        name: data
        for name, data in files.items()
        if not any(other.startswith(f"{name.casefold()}/") for other in names)
    }
    turned = list(files.items())
    random.shuffle(turned)  # type: ignore[attr-defined]
    folders = {f"{name.rpartition('/')[0]}/": b"" for name in files if "/" in name}
    one = pack(dict(turned) | folders, time=(2020, 5, 5, 5, 5, 4), deflated=False)
    other = pack(files)

    assert canonical(one) == canonical(other)
    assert digest(one) == digest(other)
    assert canonical(canonical(one)) == canonical(one)
    assert lost(canonical(one)) == []


def test_the_canonical_jar_is_one_that_java_s_tools_expect():
    with zipfile.ZipFile(io.BytesIO(canonical(pack({"b/x.txt": b"x", "a/y.txt": b"y"} | jar())))) as packed:
        assert packed.namelist()[:2] == ["META-INF/", MANIFEST]
        assert packed.namelist()[2:] == [
            "a/",
            "a/y.txt",
            "b/",
            "b/x.txt",
            "org/",
            "org/example/",
            "org/example/Tool.class",
        ]
        assert {item.compress_type for item in packed.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize(
    ("attribute", "gone"),
    [
        (b"Built-By: somebody", True),
        (b"Build-Jdk-Spec: 21", True),
        (b"Created-By: Maven JAR Plugin 3.4.2", True),
        (b"bnd-lastmodified: 1700000000000", True),
        (b"Main-Class: org.example.Tool", False),
        (b"Class-Path: evil.jar", False),
        (b"Premain-Class: org.example.Agent", False),
        (b"Implementation-Version: 1.0", False),
    ],
)
def test_attributes_of_the_build_go_and_those_of_the_jar_stay(attribute: bytes, gone: bool):
    plain, with_it = pack(jar()), pack(jar(**{MANIFEST: HEAD + attribute + b"\r\n\r\n"}))

    assert (digest(plain) == digest(with_it)) is gone
    assert ("jar-manifest:1" in lost(with_it)) is gone


def test_the_order_of_attributes_and_of_lists_says_nothing():
    first, last = b"Name: a/\r\nX: 1\r\n\r\n", b"Name: z/\r\nSealed: true\r\n\r\n"
    one = HEAD + b'Export-Package: b;uses:="x,y",a\r\nMain-Class: M\r\n\r\n' + last + first
    two = HEAD + b'Main-Class: M\r\nExport-Package: a,b;uses:="x,y"\r\n\r\n' + first + last

    assert digest(pack(jar(**{MANIFEST: one}))) == digest(pack(jar(**{MANIFEST: two})))


def test_a_list_in_another_class_path_order_is_another_jar():
    one, two = (HEAD + b"Class-Path: " + text + b"\r\n\r\n" for text in (b"a.jar b.jar", b"b.jar a.jar"))

    assert digest(pack(jar(**{MANIFEST: one}))) != digest(pack(jar(**{MANIFEST: two})))


@given(
    st.text(
        st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029\x85"), max_size=300
    )
)
def test_a_long_attribute_is_folded_and_read_back(value: str):
    data, gone = texts.manifest(HEAD + texts._folded(f"Main-Class: {value}") + b"\r\n", signed=False)

    assert gone == 0
    assert all(len(line) <= 72 for line in data.split(b"\r\n"))
    assert texts.read_manifest(data) == [[("Manifest-Version", "1.0"), ("Main-Class", value)]]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe",
        b" starts with a continuation\r\n",
        b"no colon here\r\n",
        HEAD + b"Main-Class: A\r\nmain-class: B\r\n\r\n",  # which one counts?
        HEAD + b"\r\nSealed: true\r\n\r\n",  # a section without a name
    ],
)
def test_a_manifest_that_readers_may_read_in_two_ways_is_compared_byte_for_byte(data: bytes):
    assert texts.manifest(data, signed=False) == (data, 0)


def test_who_generated_pom_properties_and_when_goes_and_what_it_names_stays():
    one = b"#Generated by Maven\n#Fri Nov 27 09:00:00 UTC 2026\nversion=1.0\ngroupId=org.example\n"
    two = b"#Created by Apache Maven 3.9\r\ngroupId=org.example\r\nversion=1.0\r\n"
    other = b"groupId=org.example\nversion=1.1\n"
    jars = [pack(jar(**{PROPERTIES: text})) for text in (one, two, other)]

    assert digest(jars[0]) == digest(jars[1]) != digest(jars[2])
    assert "jar-pom-properties:2" in lost(jars[0])


def test_git_properties_keep_the_commit():
    text = "git.build.time=2026\ngit.build.host=somewhere\ngit.commit.id.full={}\n"
    jars = [pack(jar(**{"git.properties": text.format(commit).encode()})) for commit in ("a", "b")]

    assert digest(jars[0]) != digest(jars[1])
    assert "jar-git-properties:2" in lost(jars[0])


def test_signatures_go_with_the_digests_that_they_vouch_for_and_are_counted():
    manifest = HEAD + b"\r\nName: org/example/Tool.class\r\nSHA-256-Digest: AAAA\r\n\r\n"
    signed = pack(jar(**{MANIFEST: manifest, "META-INF/KEY.SF": b"x", "META-INF/KEY.RSA": b"y"}))

    assert digest(signed) == digest(pack(jar()))
    assert {"jar-signature:2", "jar-manifest:1"} <= set(lost(signed))


def test_a_key_file_without_a_signature_is_content():
    assert digest(pack(jar(**{"META-INF/KEY.RSA": b"y"}))) != digest(pack(jar()))


def test_an_executable_member_is_no_packing():
    assert digest(pack(jar(), mode=0o100755)) != digest(pack(jar()))
    assert digest(pack(jar(), mode=0o100600)) == digest(pack(jar()))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (pack(jar()) + b"trailing", "trailing"),
        (b"#!/bin/sh\n" + pack(jar()), "prepended"),
        (pack(jar(), mode=0o104755), "setuid"),
        (pack(jar(), mode=0o120777), "link"),
        (pack(jar(**{"../x": b""})), "x"),
        (pack(jar(**{"ORG/example/Tool.class": b""})), "case"),
        (pack({"META-INF/": b""}), "without any file"),
    ],
)
def test_the_lie_an_archive_that_reads_in_two_ways_is_refused(data: bytes, why: str):
    with pytest.raises(Hostile, match=why):
        normalise.inspect(io.BytesIO(data))


def test_the_mark_of_java_s_own_tools_is_taken_and_a_full_one_is_not():
    for body, good in ((b"", True), (b"hidden", False)):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as packed:
            item = zipfile.ZipInfo(MANIFEST, (2024, 1, 1, 0, 0, 0))
            item.extra = b"\xfe\xca" + len(body).to_bytes(2, "little") + body
            packed.writestr(item, HEAD)
        if good:
            assert len(normalise.inspect(io.BytesIO(data.getvalue())).members) == 1
        else:
            with pytest.raises(Hostile, match="0xcafe"):
                normalise.inspect(io.BytesIO(data.getvalue()))


def test_the_mode_that_an_old_archiver_wrote_on_folders_is_read_as_a_folder_s():
    data = bytearray(pack({"META-INF/": b""} | jar()))
    at = data.index(b"PK\x01\x02")
    data[at + 40 : at + 42] = b"\xff\xff"

    assert digest(bytes(data)) == digest(pack(jar()))


def test_members_are_the_jar_s_own_and_canonical_those_that_are_published():
    found = normalise.inspect(io.BytesIO(pack(jar(**{MANIFEST: HEAD + b"Built-By: x\r\n\r\n"}))))
    mine = {one.path: one.sha256 for one in found.members}
    told = {one.path: one.sha256 for one in found.canonical}

    assert mine[MANIFEST] == hashlib.sha256(HEAD + b"Built-By: x\r\n\r\n").hexdigest()
    assert told[MANIFEST] == hashlib.sha256(HEAD + b"\r\n").hexdigest()
    assert mine["org/example/Tool.class"] == told["org/example/Tool.class"]
