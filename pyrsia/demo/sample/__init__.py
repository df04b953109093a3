"""The sample packages: sources kept here, packed as an index folder at run time for `pyrsia demo --offline`.

Two projects, several versions, one build backend inside each source archive, so that nothing outside
this repository is needed. The archives are packed the same way on every run: equal bytes, equal digests.

Source: PEP 503 (folders), PEP 517 (in-tree backend), PEP 625.
"""

import gzip
import io
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
PROJECTS: Final = HERE / "projects"
BACKEND: Final = HERE / "backend" / "sample_backend.py"
PACKED_S: Final = 1_767_225_600  # 2026-01-01, the one time of every member
DEFAULT: Final = ("pyrsia-sample", "0.3.0")  # needs pyrsia-sample-dep
DISSENT: Final = ("pyrsia-sample", "0.2.0")  # needs nothing
EXAMPLE: Final = ("pyrsia-sample", "0.1.0")


def write_index(folder: Path) -> str:
    """Pack every version below `folder`, one sub-folder a project; the `file:` URL for `index-url`."""
    for source in sorted(PROJECTS.glob("*/*/pyproject.toml")):
        name, version, data = pack(source.parent)
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{name.replace('-', '_')}-{version}.tar.gz").write_bytes(data)
    return folder.resolve().as_uri()


def pack(source: Path) -> tuple[str, str, bytes]:
    """(name, version, source archive) of one folder with a pyproject.toml."""
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    top = f"{name.replace('-', '_')}-{version}"
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, data in sorted(_files(source, project)):
            item = tarfile.TarInfo(f"{top}/{path}")
            item.size, item.mtime, item.mode = len(data), PACKED_S, 0o644
            archive.addfile(item, io.BytesIO(data))
    packed = io.BytesIO()
    # Level 0 leaves the compressor, which differs between machines, out of the archive's bytes.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=0, fileobj=packed, mtime=PACKED_S) as out:
        out.write(tar.getvalue())
    return name, version, packed.getvalue()


def _files(source: Path, project: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(source).as_posix(), path.read_bytes()
    yield "backend/sample_backend.py", BACKEND.read_bytes()
    info = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    yield "PKG-INFO", info.encode()
