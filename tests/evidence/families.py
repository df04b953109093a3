"""How much of a new version is in the one before: wheels and jars that people install, cut by the real sandbox.

    python -m tests.evidence.families

Wheels come by pip with its own configuration, jars from the first repository of the operator's Maven settings. The last
two columns are what a node fetches: with what it has (recipe and missing pieces), and of chunks that are the same.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import httpx
import trio

from pyrsia.builds.cutting.spans import PROGRAM, spans
from pyrsia.builds.inside import Inside
from pyrsia.builds.maven import settings
from pyrsia.builds.sandbox import BuildLimits, choose
from pyrsia.transfer import delta
from pyrsia.transfer.manifest import Manifest

WHEELS: Final = {
    "django": ("5.1", "5.1.1", "5.1.2"),
    "numpy": ("2.1.0", "2.1.1", "2.1.2"),
    "sqlalchemy": ("2.0.34", "2.0.35", "2.0.36"),
    "sympy": ("1.13.1", "1.13.2", "1.13.3"),
    "ansible": ("10.3.0", "10.4.0", "10.5.0"),
    "plotly": ("5.24.0", "5.24.1"),
    "botocore": ("1.35.10", "1.35.11"),
    "pandas": ("2.2.2", "2.2.3"),
}
JARS: Final = {
    "com.google.guava:guava": ("33.2.1-jre", "33.3.0-jre", "33.3.1-jre"),
    "org.springframework:spring-core": ("6.1.12", "6.1.13", "6.1.14"),
    "com.fasterxml.jackson.core:jackson-databind": ("2.17.1", "2.17.2", "2.18.0"),
    "org.bouncycastle:bcprov-jdk18on": ("1.78", "1.78.1"),
    "org.scala-lang:scala-library": ("2.13.14", "2.13.15"),
}
CENTRAL: Final = "https://repo.maven.apache.org/maven2"


def wheels(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    for name, versions in WHEELS.items():
        found = []
        for version in versions:
            into = folder / name / version
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*command, "-d", into, f"{name}=={version}"], check=True, timeout=300)
            found.append(next(into.iterdir()))
        yield name, found


def jars(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    places = [one.url.rstrip("/") for one in settings.load().repositories]
    base = next((url for url in places if url.startswith("http")), CENTRAL)
    with httpx.Client(follow_redirects=True, timeout=60) as client:
        for coordinates, versions in JARS.items():
            group, _, name = coordinates.partition(":")
            found = []
            for version in versions:
                file = f"{name}-{version}.jar"
                answer = client.get(f"{base}/{group.replace('.', '/')}/{name}/{version}/{file}")
                answer.raise_for_status()
                (folder / file).write_bytes(answer.content)
                found.append(folder / file)
            yield name, found


async def cut(inside: Inside, path: Path) -> tuple[bytes, delta.Recipe]:
    data = await trio.Path(path).read_bytes()
    offsets = delta.cuts(len(data), await spans(inside, path, len(data)))
    return data, delta.recipe_of(memoryview(data), offsets)


def chunks_of(data: bytes) -> list[bytes]:
    hashes = Manifest.of([data]).chunks
    return [hashes[at : at + 32] for at in range(0, len(hashes), 32)]


def line(name: str, old: tuple[bytes, delta.Recipe], new: tuple[bytes, delta.Recipe]) -> str:
    data, recipe = new
    plan = delta.plan(recipe, delta.places([old[1]]))
    better = delta.chunks(plan)
    travels = len(recipe.encode()) + len(data) - sum(chunk.shared for chunk in better)
    before, chunks = set(chunks_of(old[0])), chunks_of(data)
    same = sum(chunk in before for chunk in chunks)
    return (
        f"{name:44} {len(data) / 1e6:8.2f} {len(recipe.sizes):8} {plan.shared / len(data):8.1%} "
        f"{travels / len(data):8.1%} {1 - same / len(chunks):8.1%}"
    )


async def main() -> None:
    sandbox = await choose(True)
    print(f"{'new version':44} {'MB':>8} {'pieces':>8} {'shared':>8} {'travels':>8} {'by chunk':>8}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        inside = Inside(sandbox, folder / "scratch", PROGRAM, BuildLimits())
        for families in (wheels, jars):
            for name, paths in families(folder):
                files = [await cut(inside, path) for path in paths]
                for path, (old, new) in zip(paths[1:], pairwise(files), strict=True):
                    shown = path.name if families is jars else f"{name} {path.parent.name}"
                    print(line(shown[:44], old, new), flush=True)


if __name__ == "__main__":
    trio.run(main)
