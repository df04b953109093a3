"""Files that name packages to ask for; the first byte says which of the four."""

from pathlib import Path

from pyrsia.cli.builds import files
from pyrsia.errors import Refusal

MAX_BYTES = 1_024

NAMES = ("requirements.txt", "uv.lock", "conan.lock", "pom.xml")
_ECOSYSTEMS = ("pip", "pip", "conan", "maven")


def check(data: bytes) -> bool:
    which = data[0] % len(NAMES) if data else 0
    path = Path(NAMES[which])
    found = _read(path, data[1:].decode("utf-8", "replace"))
    if isinstance(found, Refusal):
        assert (found.code, found.what.partition(":")[0]) == ("usage", path.name)
        return False
    for one in found.items:
        assert one.ecosystem == _ECOSYSTEMS[which]
        assert one.name
        assert which != 3 or "${" not in one.version, "a property that nobody filled is no version"
    return True


def _read(path: Path, text: str) -> files.Listed | Refusal:
    try:
        return files.listed(path, text, files._reader(path))
    except Refusal as error:
        return error


def seeds() -> dict[str, bytes]:
    uv = b'[[package]]\nname = "a"\nversion = "1"\nsource = { registry = "https://index.example" }\n'
    pom = (
        b"<project><properties><v>1</v></properties><dependencies><dependency><groupId>g</groupId>"
        b"<artifactId>a</artifactId><version>${v}</version></dependency></dependencies></project>"
    )
    return {
        "requirements": b"\0a==1\n# comment\nb>=2 \\\n  ; python_version > '3'\n-e .\n",
        "requirements-pinned": b"\0a==1 --hash=sha256:" + b"0" * 64 + b"\n",
        "requirements-broken": b"\0a==\n",
        "uv": b"\1" + uv,
        "uv-no-source": b"\1" + uv.replace(b"source", b"other"),
        "uv-broken": b"\1[[package\n",
        "conan": b'\2{"version":"0.5","requires":["zlib/1.3.1#' + b"a" * 32 + b'%1.0"],"build_requires":[]}',
        "conan-list": b"\2[]",
        "pom": b"\3" + pom,
        "pom-circle": b"\3" + pom.replace(b"<v>1</v>", b"<v>${w}</v><w>${v}</w>"),
        "pom-bomb": b'\3<!DOCTYPE p [<!ENTITY a "a">]>' + pom,
    }
