"""Dockerfiles as far as they are taken: what was read stays inside its root, and says its line where it is refused."""

from pyrsia.builds.oci import dockerfile
from tests.fuzz import laws

MAX_BYTES = 1_024


def check(data: bytes) -> bool:
    found = laws.read(lambda text: dockerfile.read(text, "linux/amd64"), data)
    if found is None:
        return False
    for step in found.copies:
        assert step.target.startswith("/")
        assert ".." not in step.target.split("/")
        assert all(".." not in source.split("/") for source in step.sources)
    assert all(folder.startswith("/") for folder in found.folders)
    assert dockerfile.config_of(found, {})["Env"] is not None
    return True


def seeds() -> dict[str, bytes]:
    texts = {
        "scratch": "FROM scratch\nCOPY a /a\n",
        "whole": 'FROM scratch\nARG TARGETARCH\nWORKDIR /app\nCOPY ["a b", "c", "./"]\nENV X=$TARGETARCH Y="a b"\n'
        'LABEL a=b\nUSER 1000\nEXPOSE 80/tcp\nENTRYPOINT ["/a"]\nCMD run\n',
        "continued": "FROM scratch\nCOPY a \\\n# within\n  b /c/\n",
        "argument": "FROM scratch\nARG V=1\n",
        "run": "FROM scratch\nRUN true\n",
        "climbs": "FROM scratch\nCOPY ../../etc/passwd /\n",
        "target-climbs": "FROM scratch\nWORKDIR ../..\nCOPY a ../../b\n",
        "by-tag": "FROM debian:12\n",
        "empty": "",
        "open-quote": 'FROM scratch\nENV A="b\n',
        "directive": "# syntax=docker/dockerfile:1\n# escape=`\nFROM scratch\n",
    }
    return {name: text.encode() for name, text in texts.items()}
