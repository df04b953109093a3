"""Every command of docs/knowledge.md that shows a format, run as it stands over a file of that format."""

import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pyrsia.consumers.auditing import kinds
from tests.reference.toyaudit import ToyAudit, sbom
from tests.unit.consumers import test_locks as locks

PAGE = Path(__file__).parents[4] / "docs" / "knowledge.md"
COMMANDS = [
    line.partition("  #")[0].strip()
    for line in re.search(r"```sh formats\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[
        1
    ].splitlines()
]
UV = '[[package]]\nname = "idna"\nversion = "3.6"\nsource = { registry = "https://i" }\n'
POM = (
    "<project><dependencies><dependency><groupId>a</groupId><artifactId>b</artifactId><version>1</version>"
    "</dependency></dependencies></project>"
)
XML = (
    '<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><components><component><name>idna</name>'
    "<purl>pkg:pypi/idna@3.6</purl></component></components></bom>"
)
REFERENCE = {"referenceType": "purl", "referenceLocator": "pkg:pypi/idna@3.6"}
SPDX = {"spdxVersion": "SPDX-2.3", "packages": [{"name": "idna", "externalRefs": [REFERENCE]}]}
FILES = {
    **{name: text for name, (text, _, _) in locks.LOCKS.items()},
    "requirements.txt": "idna==3.6\n",
    "uv.lock": UV,
    "pom.xml": POM,
    "bom.json": sbom("pkg:pypi/idna@3.6").decode(),
    "bom.xml": XML,
    "app.spdx.json": json.dumps(SPDX),
    ".venv/lib/python3.11/site-packages/idna-3.6.dist-info/METADATA": "Name: idna\nVersion: 3.6\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def piped(command):
    """What a command's standard input is, and the command without that."""
    before, bar, behind = command.partition(" | ")
    if bar:
        assert before.startswith("pip "), "other programs are not run here"
        made = subprocess.run(
            [sys.executable, "-m", *shlex.split(before)], check=True, capture_output=True, timeout=120
        )
        return made.stdout, behind
    command, bar, file = command.partition(" < ")
    return Path(file).read_bytes() if bar else b"", command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_reads_what_it_names(pyrsia, project, monkeypatch, command):
    data, command = piped(command)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    program, *words = shlex.split(command)
    assert program == "pyrsia"
    with ToyAudit().node() as node:
        code, out, err = pyrsia(*words, "--node", node.url, "--json", "--fail-on", "none")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["counts"]["audited"] >= 1
    places = {one["file"] for each in found["components"] for one in each["places"]}
    named = [word for word in words[1:] if not word.startswith(("-", "pkg:")) and word in FILES]
    assert set(named) <= places


def test_the_page_has_a_command_for_every_format():
    shown = " ".join(COMMANDS)
    for kind in kinds.READERS:
        assert kind in shown, kind
    for other in ("bom.json", "bom.xml", "spdx.json", "--as sbom", "audit -", ":1.2", "pkg:", "--venv"):
        assert other in shown, other
