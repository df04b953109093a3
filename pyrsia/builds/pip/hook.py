"""Runs one PEP 517 hook of a build backend, inside the sandbox, and writes its answer to a file.

    python hook.py HOOK ANSWER-FILE OUTPUT-FOLDER [vary]

The working folder is the unpacked source; the build tools are on PYTHONPATH. With `vary`, folders are listed in the
opposite order, as another file system may. This file stands alone: nothing of ours but it is importable while a
stranger's backend runs.

Source: PEP 517, PEP 518.
"""

import importlib
import json
import os
import site
import sys
import tomllib
from typing import Any


def backend_of(project: dict[str, Any]) -> tuple[str, list[str]]:
    """(`module:object`, folders of the source that hold the backend); defaults as PEP 517 says."""
    system = project.get("build-system", {})
    return system.get("build-backend", "setuptools.build_meta:__legacy__"), system.get("backend-path", [])


class _Backwards:
    """What `os.scandir` gives, last name first."""

    def __init__(self, found: Any) -> None:
        self._found = iter(sorted(found, key=lambda entry: entry.name, reverse=True))

    def __iter__(self) -> Any:
        return self._found

    def __next__(self) -> Any:
        return next(self._found)

    def __enter__(self) -> "_Backwards":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._found = iter(())


def list_backwards() -> None:
    """Let this interpreter list every folder from its last name to its first; `glob` and `pathlib` ask it too."""
    scandir, listdir = os.scandir, os.listdir

    def scanned(path: Any = None) -> _Backwards:
        with scandir(path) as found:
            return _Backwards(found)

    def listed(path: Any = None) -> Any:
        return sorted(listdir(path), reverse=True)

    os.scandir, os.listdir = scanned, listed  # type: ignore[assignment]


def main(hook: str, answer_file: str, output: str, mode: str = "") -> int:
    # `site` was not run, so that no package of the host is importable; setup.py files use exit() of it.
    site.setquit()
    site.setcopyright()
    if mode == "vary":
        list_backwards()
    try:
        with open("pyproject.toml", "rb") as file:
            project = tomllib.load(file)
    except FileNotFoundError:
        project = {}
    spec, folders = backend_of(project)
    root = os.path.realpath(os.getcwd())
    inside = [os.path.realpath(os.path.join(root, folder)) for folder in folders]
    if any(os.path.commonpath([root, folder]) != root for folder in inside):
        print("backend-path leads out of the source", file=sys.stderr)
        return 2
    sys.path[:0] = inside
    module, _, path = spec.partition(":")
    backend: Any = importlib.import_module(module)
    for name in filter(None, path.split(".")):
        backend = getattr(backend, name)
    answer: Any
    if hook == "requires":
        call = getattr(backend, "get_requires_for_build_wheel", None)
        answer = list(call({})) if call else []
    elif hook == "metadata":
        call = getattr(backend, "prepare_metadata_for_build_wheel", None)
        answer = call(output, {}) if call else ""
    else:
        answer = backend.build_wheel(output, {})
    with open(answer_file, "w", encoding="utf-8") as file_out:
        json.dump(answer, file_out)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
