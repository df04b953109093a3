"""A published package whose list of members is real, and a node that tells it: for tests of what is installed."""

import hashlib
import io
import sys
import zipfile
from importlib._bootstrap_external import _code_to_timestamp_pyc

from pyrsia.builds import members
from pyrsia.builds.members import Member
from tests.reference.ledger import World, blob
from tests.reference.story import Story

ALL = ("conan", "maven", "oci", "pip", "witness")
CONAN = {
    "coordinates": {"name": "tiny", "version": "1.0"},
    "ecosystem": "conan",
    "purl": "pkg:conan/tiny@1.0",
    "target": {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux"},
}
WHEEL = "idna-1.0-py3-none-any.whl"
FILES = {
    "idna/__init__.py": b"x = 1\n",
    "idna/core.py": b"def of(name):\n    return name\n",
    "idna/data/table.bin": bytes(range(256)),
    "idna-1.0.data/scripts/idna-tool": b"#!python\nprint('idna')\n",
    "idna-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: idna\nVersion: 1.0\n",
    "idna-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "idna-1.0.dist-info/entry_points.txt": b"[console_scripts]\nidna-run = idna.core:of\n",
}


def wheel(files=None) -> bytes:
    """A wheel of `files`, with its RECORD."""
    held = dict(FILES if files is None else files)
    record = "".join(f"{path},,\n" for path in held) + "idna-1.0.dist-info/RECORD,,\n"
    held["idna-1.0.dist-info/RECORD"] = record.encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, data in held.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    return out.getvalue()


def listed(files) -> bytes:
    """The list of members of an archive with these files."""
    rows = [Member(path, hashlib.sha256(data).hexdigest(), len(data), False) for path, data in files.items()]
    return members.encode(rows)


class Published(Story):
    """A story whose files hold what `held` says: name -> list of members."""

    def __init__(self, files, held=None, **more):
        self.held = {name: listed({name: data}) for name, data in files.items()} | (held or {})
        super().__init__(files=files, world=World(capabilities=ALL), **more)

    def plain(self, output, name, data, **outputs):
        made = super().plain(output, name, data, **outputs)
        digest = hashlib.sha256(self.held[name]).hexdigest()
        there = {"manifest": digest[::-1], "sha256": digest, "size": len(self.held[name])}
        made["raw"] = {**made["raw"], "members": there}
        made["canonical"] = made["raw"]
        if name.endswith(".whl"):
            made["raw"] = made["canonical"] = {**made["raw"], "metadata": blob((name, "metadata"))}
        return made


def idna(files=None, **more):
    """The wheel of idna 1.0, published."""
    data = wheel(files)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    return Published({WHEEL: data}, {WHEEL: listed(held)}, **more)


def answers(story, package):
    """What a node says of a published package: path -> (status, body)."""
    told, rows = {}, []
    for name in story.files:
        one = story.of(name)
        told[f"/api/v1/artifacts/{one.sha256}/proof"] = (200, one.proof())
        told[f"/api/v1/artifacts/{one.sha256}/contents"] = (200, story.held[name])
        rows.append({"file": name, "sha256": one.sha256, "size": len(one.data), "version": "1.0",
                     "verdict": "REPRODUCED", "log_index": one.artifact.leaf})  # fmt: skip
    told["/api/v1/packages"] = (200, rows)
    return told


def pyc(source, name="/tmp/elsewhere/core.py"):
    """What Python's own compiler writes."""
    return _code_to_timestamp_pyc(compile(source, name, "exec", dont_inherit=True), 1, len(source))


def install(root, files=None, python="3.11"):
    """What an installer makes of idna's wheel in an environment at `root`, without running one."""
    site = root / "lib" / f"python{python}" / "site-packages"
    held = dict(FILES if files is None else files)
    script = held.pop("idna-1.0.data/scripts/idna-tool", None)
    for path, data in held.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(data)
    (root / "bin").mkdir(exist_ok=True)
    if script is not None:
        (root / "bin" / "idna-tool").write_bytes(script.replace(b"#!python", f"#!{root}/bin/python".encode()))
    (root / "bin" / "idna-run").write_text(
        f"#!{root}/bin/python\nimport sys\nfrom idna.core import of\nif __name__ == '__main__':\n"
        "    sys.argv[0] = sys.argv[0].removesuffix('.exe')\n    sys.exit(of())\n"
    )
    (site / "idna-1.0.dist-info" / "INSTALLER").write_text("pip\n")
    (site / "idna" / "__pycache__").mkdir()
    compiled = f"core.{sys.implementation.cache_tag}.pyc"
    (site / "idna" / "__pycache__" / compiled).write_bytes(pyc(held["idna/core.py"]))
    record = "".join(f"{path},,\n" for path in held) + "../../../bin/idna-tool,,\n../../../bin/idna-run,,\n"
    (site / "idna-1.0.dist-info" / "RECORD").write_text(record)
    return site
