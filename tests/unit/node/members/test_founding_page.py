"""docs/operating.md, "Found a network": what each founder runs beside the data directory that `pyrsia init` made."""

import json
import re
import subprocess
import sys
from pathlib import Path

from pyrsia import config
from pyrsia.keys import KeyRing

PAGE = Path(config.__file__).parents[1] / "docs/operating.md"


def script(name):
    """The block of the page that begins with this file's name."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(f"# {name} ")]
    return found


def test_a_founder_is_described_as_init_wrote_it_down_and_types_nothing_twice(tmp_path):
    KeyRing.generate().save(tmp_path / "keys")
    config.save(config.Config(node=config.NodeSection("amber", "amber-corp", "rack-1")), tmp_path)
    (tmp_path / "member.py").write_text(script("member.py"))
    done = subprocess.run(
        [sys.executable, tmp_path / "member.py", tmp_path, "builder", "storage", "validator"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    member = json.loads(done.stdout)["member"]
    assert (member["name"], member["operator"], member["domain"]) == ("amber", "amber-corp", "rack-1")
    assert sorted(member["roles"]) == ["builder", "storage", "validator"]
