"""Every client against a follower of four builders: cold, warm, wrong hash, policy refusal, interrupted transfer.

    python -m tests.evidence.clients [OUT.json]

One row a client, a sentence a cell about what was seen. A client that cannot be had here has its reason in place of its
cells; a cell that stays empty fails the run. Run as root: containerd and dockerd want it.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "serve"))
import ocis
import pythons
import test_conan_clients
import test_consumers
import test_maven_clients
import test_oci_clients
from pythons import Row
from test_consumers import Consumers

GIVEN, REFUSED = test_consumers.MAVEN_GIVEN, test_consumers.MAVEN_REFUSED
CASES = ("cold", "warm", "wrong hash", "policy refusal", "interrupted transfer")
WANTED = (  # each has a row; what is not here says so, and fails the run
    "pip", "uv", "maven 3.8", "maven 3.9", "conan", "skopeo", "podman", "buildah", "containerd",
    "containerd as Docker Hub's mirror", "dockerd", "dockerd as Docker Hub's mirror",
)  # fmt: skip
MAVEN = "3.9.9"


def maven_rows(field: Consumers, folder: Path, homes: Mapping[str, Path | None]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    url = f"{field.url}/maven2/"
    for name, home in homes.items():
        place = folder / name.replace(" ", "-")
        place.mkdir(parents=True)
        rows[name] = trio.run(
            partial(
                test_maven_clients.row,
                place,
                url,
                given=GIVEN,
                refused=REFUSED,
                home=home,
            )
        )
        if home is not None:
            field.pyrsia(
                "export", "maven-trusted-checksums", "--all", "-o", str(place / "checksums"), good=None
            )
            summary = b"".join(one.read_bytes() for one in (place / "checksums").rglob("*.sha256"))
            rows[name]["trusted checksums"] = trio.run(
                partial(
                    test_maven_clients.trusted,
                    place / "trusted",
                    url,
                    home,
                    given=GIVEN,
                    summary=summary,
                )
            )
    if "maven 3.9" not in rows:
        rows["maven 3.9"] = {"not run": f"Maven Central gave no org.apache.maven:apache-maven:{MAVEN}"}
    return rows


def image_rows(field: Consumers) -> dict[str, Row]:
    token = json.loads(field.pyrsia("keys", "token", "--scope", "push", "--json"))["token"]
    rows: dict[str, Row] = {}
    for kind in ocis.CLIENTS:
        for mirror in (False, True) if kind in (ocis.Containerd, ocis.Dockerd) else (False,):
            name = kind.__name__.lower() + (" as Docker Hub's mirror" if mirror else "")
            if lacks := kind.missing():
                rows[name] = {"not run": lacks}
                continue
            place = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))
            try:
                rows[name] = trio.run(
                    partial(
                        test_oci_clients.row, kind, place, field.host, given="library/base:1",
                        refused="library/kept-back:1", reason="deny", token=token, mirror=mirror,
                    )
                )  # fmt: skip
                rows[name]["wrong hash"] = rows[name].pop("wrong digest", "")
            finally:
                shutil.rmtree(place, ignore_errors=True)
    return rows


def maven_homes(folder: Path) -> dict[str, Path | None]:
    """This machine's Maven and, where Maven Central gives it, a newer one; fetched as any artifact is."""
    homes: dict[str, Path | None] = {"maven 3.8": None}
    wanted = f"org.apache.maven:apache-maven:{MAVEN}:zip:bin"
    plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
    done = subprocess.run(
        ["mvn", "-B", "-q", f"{plugin}:copy", f"-Dartifact={wanted}", f"-DoutputDirectory={folder}"],
        cwd=folder, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    archive = folder / f"apache-maven-{MAVEN}-bin.zip"
    if done.returncode == 0 and archive.exists():
        shutil.unpack_archive(archive, folder)
        (folder / f"apache-maven-{MAVEN}" / "bin" / "mvn").chmod(0o755)
        homes["maven 3.9"] = folder / f"apache-maven-{MAVEN}"
    return homes


def everything(folder: Path, note: Callable[[str], None]) -> dict[str, Row]:
    homes = maven_homes(folder)
    rows: dict[str, Row] = {}
    with test_consumers.standing(folder / "field") as field:
        note("the network has built and witnessed everything")
        for name, words in {"pip": pythons.pip_words, "uv": pythons.uv_words}.items():
            place = folder / name
            place.mkdir()
            rows[name] = pythons.row(words, field.url, field.index, place)
            note(name)
        rows |= maven_rows(field, folder / "maven", homes)
        note("maven")
        rows |= image_rows(field)
        note("images")
    (folder / "conan").mkdir()
    rows["conan"] = trio.run(test_conan_clients.evidence, folder / "conan")
    return rows


def empty(rows: Mapping[str, Row]) -> list[str]:
    """Cells without a word, and clients that were not run."""
    found = []
    for name in WANTED:
        row = rows.get(name, {"not run": "nobody wrote a row"})
        cases = (
            (*CASES, "push") if name in ("skopeo", "podman", "buildah", "containerd", "dockerd") else CASES
        )
        cases = (*CASES, "trusted checksums") if name == "maven 3.9" else cases
        found += [f"{name}: {row['not run']}"] if "not run" in row else []
        found += [f"{name}: {case}" for case in cases if "not run" not in row and not row.get(case)]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", nargs="?", type=Path, default=Path("docs/evidence/clients.json"))
    out = parser.parse_args().out
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    folder = Path(tempfile.mkdtemp(prefix="clients-"))
    try:
        rows = everything(
            folder, lambda text: print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
    ).stdout
    said = {
        "about": "unchanged clients against a follower of four builders",
        "commit": commit.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
        "clients": rows,
    }
    out.write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n")
    for cell in (lacking := empty(rows)):
        print(f"empty: {cell}", file=sys.stderr)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
