"""Each target in turn: `python -m tests.fuzz.many SECONDS [TARGET...]`. One row a target; exits 1 if one broke a law.

python -m tests.fuzz.many keep [TARGET...]     takes what was found worth keeping into the corpora
"""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.fuzz.corpora import CORPUS, kept, targets
from tests.fuzz.keeping import keep

ROOT = Path(__file__).resolve().parents[2]
_SPARE_S = 120  # for imports, and for the replay of what is kept
_STAT = re.compile(r"stat::(\w+):\s+(\d+)")
_COVERED = re.compile(r"cov: (\d+) ft: (\d+)")


def run(name: str, seconds: str) -> tuple[int, str]:
    """(exit code, what it said) of one target."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", name, seconds],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SPARE_S + int(seconds),
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=False,
    )
    return done.returncode, done.stderr + done.stdout


def row(name: str, seconds: str) -> tuple[bool, str]:
    """Whether the laws held, and the row that says so."""
    before = {file.name for file in kept(name)}
    code, said = run(name, seconds)
    stats = dict(_STAT.findall(said))
    covered = _COVERED.findall(said) or [("?", "?")]
    found = [file.name for file in kept(name) if file.name not in before]
    verdict = "held" if code == 0 and not found else f"BROKEN, exit {code}: {', '.join(found)}"
    text = (
        f"{name:16} {int(stats.get('number_of_executed_units', 0)):>11,} inputs"
        f" {int(stats.get('average_exec_per_sec', 0)):>8,}/s   edges {covered[-1][0]:>5}   features {covered[-1][1]:>6}"
        f"   {stats.get('peak_rss_mb', '?'):>4} MB   kept {len(before):>3}   {verdict}"
    )
    return code == 0 and not found, text if verdict == "held" else f"{text}\n{said[-3000:]}"


def main() -> int:
    what, wanted = sys.argv[1], sys.argv[2:] or targets()
    if what == "keep":
        for name in wanted:
            print(f"{name:16} keeps {keep(name)} grown inputs", flush=True)
        return 0
    print(f"atheris {version('atheris')}, {what} s a target; laws: see tests/fuzz/__init__.py\n")
    good = True
    for name in wanted:
        (CORPUS / name).mkdir(exist_ok=True)
        held, text = row(name, what)
        good &= held
        print(text, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
