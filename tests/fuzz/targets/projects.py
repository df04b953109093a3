"""Project files of Maven: no entity is ever expanded, and the command's reader refuses a document type as well."""

from pyrsia.builds.maven import poms
from tests.fuzz import laws

MAX_BYTES = 1_024


def check(data: bytes) -> bool:
    found = laws.read(poms.read, data)
    if found is None:
        return False
    assert found.name
    assert b"<!DOCTYPE" not in data.partition(b"<project")[0].partition(b"<!--")[0]
    return True


def seeds() -> dict[str, bytes]:
    plain = (
        b'<project xmlns="http://maven.apache.org/POM/4.0.0"><groupId>g</groupId><artifactId>a</artifactId>'
        b"<version>1</version><modules><module>../b</module></modules></project>"
    )
    bomb = b'<!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + plain.replace(b">g<", b">&b;<")
    return {
        "plain": plain,
        "parent": plain.replace(b"<groupId>g</groupId>", b"<parent><groupId>p</groupId></parent>"),
        "bomb": bomb,
        "deep": b"<project>" + b"<a>" * 100 + b"</a>" * 100 + b"</project>",
        "no-artifact": b"<project/>",
        "another-root": b"<settings/>",
        "encoding": b'<?xml version="1.0" encoding="nonsense"?>' + plain,
        "cut": plain[:-3],
        "latin": b'<?xml version="1.0" encoding="iso-8859-1"?>' + plain.replace(b">g<", b">\xe9<"),
    }
