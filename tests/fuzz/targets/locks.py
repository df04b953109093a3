"""Locks of builds, of every ecosystem: one form each, and no text is the lock of two."""

from collections.abc import Callable
from typing import Any

from pyrsia.builds.conan import lock as conan
from pyrsia.builds.environments import lock as rootfs
from pyrsia.builds.maven import lock as maven
from pyrsia.builds.oci import lock as oci
from pyrsia.builds.pip import lock as pip
from pyrsia.builds.witness import lock as witness
from tests.fuzz import laws

MAX_BYTES = 1_024

_SUM = "0123456789abcdef" * 4


def _witnessed(data: bytes, seen: tuple[witness.Seen, ...]) -> bytes:
    name, version, *_ = data.split(b"\n")[1].decode().split(" ")
    return witness.encode(name, version, seen)


_FORMS: tuple[tuple[Callable[[bytes], Any], Callable[[bytes, Any], bytes]], ...] = (
    (conan.decode, lambda _, found: conan.encode(found)),
    (maven.decode, lambda _, found: maven.encode(found)),
    (oci.decode, lambda _, found: oci.encode(found)),
    (pip.decode, lambda _, found: pip.encode(found)),
    (rootfs.decode, lambda _, found: rootfs.encode(found.parts, found.rules)),
    (witness.decode, _witnessed),
)


def check(data: bytes) -> bool:
    accepted = 0
    for decode, encode in _FORMS:
        found = laws.read(decode, data)
        if found is not None:
            assert encode(data, found) == data, "accepted bytes that are not the encoding of what they say"
            accepted += 1
    assert accepted <= 1, "a lock of two ecosystems"
    return accepted == 1


def seeds() -> dict[str, bytes]:
    lines = {
        "conan": f"zlib 1.3.1 {'a' * 32}~conanfile.py {_SUM} 90",
        "maven": f"org.example:thing 1.0 org/example/thing/1.0/thing-1.0.jar {_SUM} 90",
        "oci": f"base latest sha256~{_SUM} {_SUM} 90",
        "pip": f"wheel 0.43.0 wheel-0.43.0-py3-none-any.whl {_SUM} 90",
        "rootfs": f"libc6 2.36-9 libc6_2.36-9_amd64.deb {_SUM} 90",
        "witness": f"thing 1.0 thing-1.0-py3-none-any.whl {_SUM} 90",
    }
    made = {name: f"pyrsia lock {name} v1\n{line}\n".encode() for name, line in lines.items()}
    return {
        **made,
        "empty": f"{pip.HEADER}\n".encode(),
        "twice": made["pip"] + lines["pip"].encode() + b"\n",
        "climbs": made["maven"].replace(b"org/example/", b"org/../example/"),
        "zero-before": made["conan"].replace(b" 90", b" 090"),
        "no-line-end": made["witness"][:-1],
        "drop": made["rootfs"] + b"drop usr/share/doc\n",
        "drop-outside": made["rootfs"] + b"drop ../etc\n",
    }
