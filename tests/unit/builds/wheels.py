"""Small archives for tests, honest and hostile."""

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile

EPOCH = 1_700_000_000


def record(members: dict[str, bytes], info: str) -> bytes:
    rows = []
    for path, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(data)}\n")
    return "".join([*rows, f"{info}/RECORD,,\n"]).encode()


def members(
    payload: dict[str, bytes] | None = None, name: str = "thing", version: str = "1.0"
) -> dict[str, bytes]:
    info = f"{name}-{version}.dist-info"
    found = dict(
        payload if payload is not None else {"thing/__init__.py": b"x = 1\n", "thing/data.txt": b"d" * 999}
    )
    found[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    found[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    found[f"{info}/RECORD"] = record(found, info)
    return found


def pack(
    files: dict[str, bytes],
    *,
    order: list[str] | None = None,
    date: tuple[int, ...] = (2024, 1, 2, 3, 4, 6),
    mode: int = 0o644,
    method: int = zipfile.ZIP_DEFLATED,
    executable: tuple[str, ...] = (),
    folders: tuple[str, ...] = (),
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for folder in folders:
            item = zipfile.ZipInfo(folder, date)
            item.external_attr = 0o40755 << 16
            archive.writestr(item, b"")
        for path in order or list(files):
            item = zipfile.ZipInfo(path, date)
            item.external_attr = (0o100000 | mode | (0o111 if path in executable else 0)) << 16
            item.compress_type = method
            archive.writestr(item, files[path])
    return out.getvalue()


def sdist(files: dict[str, bytes], top: str = "thing-1.0", mtime: int = EPOCH) -> bytes:
    items = []
    for path, data in files.items():
        item = tarfile.TarInfo(f"{top}/{path}")
        item.size, item.mtime, item.mode = len(data), mtime, 0o644
        items.append((item, data))
    return tar(items)


def tar(items: list[tuple[tarfile.TarInfo, bytes]], trailing: bytes = b"") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for item, data in items:
            archive.addfile(item, io.BytesIO(data) if item.isreg() else None)
    return gzip.compress(out.getvalue() + trailing, mtime=0)


def entry(name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = ""):
    item = tarfile.TarInfo(name)
    item.type, item.mode, item.linkname, item.mtime = kind, mode, link, EPOCH
    item.size = len(data) if kind == tarfile.REGTYPE else 0
    return item, data if kind == tarfile.REGTYPE else b""
