"""Where a package's source is, out of files of others: `.buildspec` (first byte 0), the original's JSON (else)."""

from pyrsia.builds.sources import buildspec
from pyrsia.wire import purl
from tests.fuzz import laws

MAX_BYTES = 1_024


def check(data: bytes) -> bool:
    reader = buildspec.parse_mapping if data[:1] > b"\0" else buildspec.parse_buildspec
    found = laws.read(reader, data[1:])
    if found is None:
        return False
    assert found.purl.startswith("pkg:maven/")
    assert str(purl.parse(found.purl)) == found.purl
    rows = found.recipe().get("parameters", [])
    assert rows == sorted(rows), "parameters of a recipe are sorted"
    return True


def seeds() -> dict[str, bytes]:
    spec = (
        b"groupId=org.example\nartifactId=thing\nversion=1.0\ngitRepo=https://code.example/thing.git\n"
        b"gitTag=v${version}\ntool=mvn\njdk=17\nnewline=lf\n"
        b'command="mvn clean package -DskipTests -Dmaven.javadoc.skip"\n'
    )
    told = (
        b'{"package_type":"Maven2","package_specific_id":"org.example:thing:1.0",'
        b'"source_repository":{"Git":{"url":"https://code.example/thing.git","tag":"v1.0"}}}'
    )
    return {
        "buildspec": b"\0" + spec,
        "comment": b"\0# a comment\n\n" + spec,
        "no-version": b"\0" + spec.replace(b"version=1.0\n", b""),
        "twice": b"\0" + spec + b"jdk=8\n",
        "substituted": b"\0" + spec.replace(b"jdk=17", b"jdk=$(id)"),
        "climbs": b"\0" + spec.replace(b"org.example", b"../.."),
        "mapping": b"\1" + told,
        "docker": b"\1" + told.replace(b"Maven2", b"Docker"),
        "two-parts": b"\1" + told.replace(b":1.0", b""),
        "list": b"\1[1]",
    }
