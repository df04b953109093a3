"""A whole PEP 517 backend in one file: packs `src/` as a pure wheel. No requirements of its own."""

import base64
import hashlib
import os
import time
import tomllib
import zipfile
from pathlib import Path
from typing import Any

Settings = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return []


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    project = _project()
    folder = Path(metadata_directory) / f"{_stem(project)}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_bytes(_metadata(project))
    (folder / "WHEEL").write_bytes(_wheel())
    return folder.name


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    project = _project()
    info = f"{_stem(project)}.dist-info"
    source = Path("src")
    members = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*.py")}
    members = dict(sorted(members.items()))
    members |= {f"{info}/METADATA": _metadata(project), f"{info}/WHEEL": _wheel()}
    rows = [f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in members.items()]
    members[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"]).encode()
    name = f"{_stem(project)}-py3-none-any.whl"
    stamp = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", "315532800")))[:6]
    with zipfile.ZipFile(Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            item = zipfile.ZipInfo(path, stamp)
            item.external_attr = 0o100644 << 16
            item.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(item, data)
    return name


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def _stem(project: dict[str, Any]) -> str:
    return f"{project['name'].replace('-', '_')}-{project['version']}"


def _metadata(project: dict[str, Any]) -> bytes:
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {line}" for line in project.get("dependencies", [])),
    ]
    return ("\n".join(lines) + "\n").encode()


def _wheel() -> bytes:
    return b"Wheel-Version: 1.0\nGenerator: sample_backend\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
