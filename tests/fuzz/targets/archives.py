"""Archives of strangers, ZIP and tar: the standard library reads the same out of what is accepted, and the canonical
form of a tar file is its own canonical form."""

import gzip
import io
import tarfile
import zipfile

from pyrsia.builds import members_zip, stabilise
from pyrsia.builds.stabilise import Stable
from tests.fuzz import laws

MAX_BYTES = 4_096


def check(data: bytes) -> bool:
    found = laws.read(_zip if data[:2] == b"PK" else _tar, data)
    return found is not None


def _zip(data: bytes) -> bool:
    file = io.BytesIO(data)
    ours = {
        one.path: b"".join(members_zip.content(file, one))
        for one in members_zip.read(file, strict=True)
        if not one.folder
    }
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        theirs = {one.filename: archive.read(one) for one in archive.infolist() if not one.is_dir()}
    assert ours == theirs, "the two readers disagree"
    return True


def _tar(data: bytes) -> bool:
    found, canonical = _stable(data)
    again, same = _stable(canonical)
    assert same == canonical, "the canonical form has another canonical form"
    assert (again.digest, again.members, again.removed) == (found.digest, found.members, ())
    return True


def _stable(data: bytes) -> tuple[Stable, bytes]:
    out = io.BytesIO()
    found = stabilise.tar(io.BytesIO(data), out, io.BytesIO(), 5)
    return found, out.getvalue()


def seeds() -> dict[str, bytes]:
    plain, trap = _packed({"a/x": b"1", "a/b": b""}), _packed({"../x": b"1"})
    zipped = _zipped({"a/x": b"1" * 50, "b": b""}, zipfile.ZIP_DEFLATED)
    stored = _zipped({"a": b"1"}, zipfile.ZIP_STORED)
    return {
        "tar": plain,
        "tgz": gzip.compress(plain, mtime=0),
        "tar-long-name": _packed({"a/" * 9 + "b" * 99 + "\u00e9": b"1"}),
        "tar-climbs": trap,
        "tar-cut": plain[:700],
        "tar-behind": plain + b"x",
        "tgz-behind": gzip.compress(plain, mtime=0) + b"x",
        "zip": zipped,
        "zip-stored": stored,
        "zip-climbs": _zipped({"../a": b"1"}, zipfile.ZIP_STORED),
        "zip-before": b"PK" + stored,
        "zip-behind": stored + b"x",
        "zip-version-7.7": stored.replace(b"PK\1\2\x14\3\x14", b"PK\1\2\x14\3\x4d"),
        "zip-checksum": stored.replace(b"a1PK", b"a2PK"),
        "zip-empty": _zipped({}, zipfile.ZIP_STORED),
    }


def _packed(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 9
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue().rstrip(b"\0") + bytes(1_024 + -len(out.getvalue().rstrip(b"\0")) % 512)


def _zipped(members: dict[str, bytes], method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr = method, 0o100644 << 16
            archive.writestr(info, data)
    return out.getvalue()
