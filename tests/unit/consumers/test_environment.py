"""What an installer makes in an environment is compared too: compiled files, scripts, and what Python runs unasked."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pyrsia.consumers.installed.compiled import Said, compare
from pyrsia.consumers.installed.scripts import entry_points, is_entry
from tests.unit.consumers.made import FILES, pyc
from tests.unit.consumers.test_installed import bad
from tests.unit.consumers.test_installed import check as check
from tests.unit.consumers.test_installed import node as node
from tests.unit.consumers.test_installed import story as story
from tests.unit.consumers.test_installed import today as today
from tests.unit.consumers.test_installed import trust as trust
from tests.unit.consumers.test_installed import venv as venv

TAG = sys.implementation.cache_tag
SOURCE = FILES["idna/core.py"]


@pytest.fixture
def site(venv):
    return venv / "lib/python3.11/site-packages"


@pytest.fixture
def cache(site):
    return site / "idna/__pycache__"


# -- compiled files --


@pytest.mark.parametrize(
    "evil",
    [
        pyc(b"def of(name):\n    return evil\n"),
        pyc(SOURCE + b"import evil\n"),
        pyc(SOURCE) + b"more",
        pyc(SOURCE)[:-1],
        b"",
        b"evil",
        pyc(SOURCE)[:16] + b"\xe3",
        b"\0\0\0\0" + pyc(SOURCE)[4:],
    ],
)
def test_a_compiled_file_with_other_code_than_its_source_is_refused(check, cache, evil):
    """With the source's time and size in its header it is what Python runs."""
    (cache / f"core.{TAG}.pyc").write_bytes(evil)
    code, rows = check("--venv", cache.parents[4])
    assert (code, bad(rows)) == (
        1, {(f"idna/__pycache__/core.{TAG}.pyc", "changed: its code is not what its source compiles to")}
    )  # fmt: skip


def test_a_compiled_file_of_a_changed_source_is_no_excuse_for_it(check, site, cache):
    (site / "idna/core.py").write_bytes(b"evil\n")
    (cache / f"core.{TAG}.pyc").write_bytes(pyc(b"evil\n"))
    code, rows = check("--venv", cache.parents[4])
    assert (code, [where for where, _ in bad(rows)]) == (1, ["idna/core.py"])


def test_a_compiled_file_of_another_python_has_no_proof(check, cache):
    (cache / "core.cpython-39.pyc").write_bytes(b"who knows")
    code, rows = check("--venv", cache.parents[4])
    assert (code, bad(rows)) == (
        3, {("idna-1.0.dist-info", "compiled by another Python (cpython-39) and compared with nothing")}
    )  # fmt: skip


def test_optimized_files_are_compared_with_what_that_makes(check, cache):
    path = cache / f"core.{TAG}.opt-2.pyc"
    code = compile(SOURCE, "", "exec", dont_inherit=True, optimize=2)
    from importlib._bootstrap_external import _code_to_timestamp_pyc

    path.write_bytes(_code_to_timestamp_pyc(code))
    assert check("--venv", cache.parents[4])[0] == 0


RICH = b'''"""text"""
from __future__ import annotations
import os as x
class A(dict, metaclass=type):
    """more"""
    y: int = 10 ** 30
    def f(self, a, /, *b, c={"a", "b"} & {1, 2.5, 3j, None, ..., True}, **d):
        def g():
            nonlocal a
            a = (lambda: [one for one in b] if a in {"x", "y", b"z", -7} else f"{c!r:>{a}}")
            yield from g()
        try:
            with x as b[1:2]:
                assert a, "\\u20ac"
        except* ValueError:
            pass
        return -1 < 2 ** 70, "long " * 400, (1, (2, (3,)))
'''


def test_every_kind_of_constant_is_the_same_however_its_bytes_refer_to_each_other():
    assert compare(TAG, 0, pyc(RICH, "/x/" + "y" * 300), RICH) is Said.SAME
    assert compare(TAG, 0, pyc(RICH, "\u20ac"), RICH) is Said.SAME
    assert compare(TAG, 0, pyc(RICH), RICH + b"\n0\n") is not None
    assert compare(TAG, 0, pyc(RICH), RICH.replace(b"2 ** 70", b"2 ** 71")) is Said.OTHER
    assert compare(TAG, 0, pyc(RICH), RICH.replace(b'"y", b"z"', b'"w", b"z"')) is Said.OTHER


def test_the_files_of_python_itself_are_what_their_sources_compile_to():
    found = []
    for name in ("argparse", "ast", "json", "typing", "asyncio.tasks", "email.message"):
        spec = importlib.util.find_spec(name)
        source = Path(spec.origin).read_bytes()
        found.append(compare(TAG, 0, pyc(source, spec.origin), source))
    assert found == [Said.SAME] * 6


@given(st.integers(0, 10_000), st.binary(max_size=12))
@example(16, b"\xe3" * 12)
@example(20, b"(\xff\xff\xff\x7f")
@example(16, b"\xa9\x01r\0\0\0\0")
def test_no_other_bytes_pass_and_none_raise(at, new):
    """Property: a compiled file that is changed anywhere behind its header is other code, or the same to Python."""
    import marshal

    whole = pyc(SOURCE)
    at = 16 + at % (len(whole) - 16)
    damaged = whole[:at] + new + whole[at + len(new) :]
    said = compare(TAG, 0, damaged, SOURCE)
    if said is Said.SAME:
        code = marshal.loads(damaged[16:]).replace(co_filename="x")  # noqa: S302 (it is our own)
        assert code == compile(SOURCE, "x", "exec", dont_inherit=True)
    assert said is not Said.UNKNOWN


def test_code_that_refers_to_itself_a_million_times_costs_its_bytes():
    bomb = b"\xa9\x02N" + b"N"
    for level in range(60):
        bomb = b"\xa9\x02" + bomb + b"r" + (level + 1).to_bytes(4, "little")
    assert compare(TAG, 0, importlib.util.MAGIC_NUMBER + bytes(12) + bomb, SOURCE) is Said.OTHER
    assert compare(TAG, 0, importlib.util.MAGIC_NUMBER + bytes(12) + b")\x01" * 10_000, SOURCE) is Said.OTHER


# -- scripts --

PIP = """import sys
from idna.core import of
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit(of())
"""
OLDER = r"""# -*- coding: utf-8 -*-
import re
import sys
from idna.core import of
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\.pyw|\.exe)?$', '', sys.argv[0])
    sys.exit(of())
"""
UV = """# -*- coding: utf-8 -*-
import sys
from idna.core import of
if __name__ == "__main__":
    if sys.argv[0].endswith("-script.pyw"):
        sys.argv[0] = sys.argv[0][:-11]
    elif sys.argv[0].endswith(".exe"):
        sys.argv[0] = sys.argv[0][:-4]
    sys.exit(of())
"""
SHELL = "#!/bin/sh\n'''exec' {quote}{python}{quote} \"$0\" \"$@\"\n' '''\n"


@pytest.mark.parametrize("body", [PIP, OLDER, UV])
@pytest.mark.parametrize(
    "start", ["#!{python}\n", SHELL.replace("{quote}", ""), SHELL.replace("{quote}", '"')]
)
def test_what_installers_write_for_an_entry_point_is_that(check, venv, body, start):
    (venv / "bin/idna-run").write_text(start.replace("{python}", f"{venv}/bin/python3.11") + body)
    code, rows = check("--venv", venv)
    (row,) = [row for row in rows if row["file"].endswith("idna-run")]
    assert (code, row["outcome"]) == (0, "accepted")


EVIL_STARTS = [
    "#!/tmp/evil\n", "#!/bin/sh\n", "#!/usr/bin/env -S python -c __import__('os').system('evil')\n", "#!/x/python\n",
    "#!{venv}/bin/../../python\n", "#!{venv}/bin/python -c evil\n", "#!{venv}/bin/idna-tool\n", "#!pythonw\n",
    SHELL.replace("{quote}", "").replace("{python}", "{venv}/bin/python; evil"),
    SHELL.replace("{quote}", "").replace("{python}", "/tmp/python"), "",
]  # fmt: skip


@pytest.mark.parametrize("script", ["idna-run", "idna-tool"])
@pytest.mark.parametrize("start", EVIL_STARTS)
def test_a_script_that_starts_another_program_is_refused(check, venv, script, start):
    path = venv / "bin" / script
    rest = path.read_bytes().partition(b"\n")[2]
    path.write_bytes(start.replace("{venv}", str(venv)).encode() + rest)
    code, rows = check("--venv", venv)
    assert (code, [where.rpartition("/")[2] for where, _ in bad(rows)]) == (1, [script])


@pytest.mark.parametrize(
    "evil",
    [
        PIP + "evil()\n",
        PIP.replace("of()", "of(evil())"),
        PIP.replace("idna.core", "evil"),
        PIP.replace("import sys\n", "import sys, evil\n"),
        "# coding: utf-7\n" + PIP,
        PIP.replace("sys.exit", "+AG8-"),
        PIP + "\x0c\n",
        "",
    ],
)
def test_a_script_that_does_more_is_refused(check, venv, evil):
    (venv / "bin/idna-run").write_text(f"#!{venv}/bin/python\n{evil}")
    code, rows = check("--venv", venv)
    assert (code, len(bad(rows))) == (1, 1)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_text_put_into_a_script_changes_what_it_does(tmp_path, data):
    """Property: whatever is put in, the script is refused, or means the same to Python."""
    body = data.draw(st.sampled_from([PIP, OLDER, UV]))
    at = data.draw(st.integers(0, len(body)))
    put = data.draw(st.text(max_size=8))
    text = body[:at] + put + body[at:]
    raw = f"#!{tmp_path}/bin/python\n{text}".encode("utf-8", "surrogatepass")
    if is_entry(raw, "idna.core", "of", tmp_path / "bin"):
        assert ast.dump(ast.parse(raw)) == ast.dump(ast.parse(body))


def test_entry_points_are_read_as_the_specification_says():
    text = "[console_scripts]\na = b.c : d.e [x]\n# n = m:o\n[other]\nf = g:h\n[ gui_scripts ]\ni=j:k\n../x = y:z\n"
    assert entry_points(text) == {"a": ("b.c", "d.e"), "i": ("j", "k"), "../x": ("y", "z")}


# -- what Python runs unasked, and what a shell finds --


def test_a_package_that_is_skipped_may_not_claim_what_runs_at_each_start_or_files_of_a_checked_one(
    check, site
):
    (site / "pip-24.0.dist-info").mkdir()
    claimed = {
        "evil.pth": "import evil\n",
        "sitecustomize.py": "evil",
        "usercustomize.py": "evil",
        "idna/evil.py": "",
    }
    for name, text in claimed.items():
        (site / name).write_text(text)
    (site / "pip.py").write_text("")
    record = "".join(f"{one},,\n" for one in (*claimed, "pip.py"))
    (site / "pip-24.0.dist-info/RECORD").write_text(record)
    code, rows = check("--venv", site.parents[2], "--skip", "pip")
    assert (code, {where for where, _ in bad(rows)}) == (1, set(claimed))
    names = [part for name in claimed for part in ("--skip", name)]
    assert check("--venv", site.parents[2], "--skip", "pip", *names)[0] == 0


def test_a_program_that_no_package_owns_is_named(check, venv, site):
    for name in ("ls", "python-evil", "pip"):
        (venv / "bin" / name).write_text("#!/bin/sh\nevil\n")
    for name in ("python", "python3.11", "activate", "activate.fish", "Activate.ps1", "deactivate.bat"):
        (venv / "bin" / name).write_text("")
    code, rows = check("--venv", venv)
    assert (code, {where.rpartition("/")[2] for where, _ in bad(rows)}) == (1, {"ls", "python-evil", "pip"})
    (site / "pip-24.0.dist-info").mkdir()
    (site / "pip-24.0.dist-info/RECORD").write_text(
        "../../../bin/pip,,\n../../../bin/../bin/x,,\n../../../../ls,,\n"
    )
    code, rows = check("--venv", venv, "--skip", "pip", "--skip", "python-evil")
    assert (code, {where.rpartition("/")[2] for where, _ in bad(rows)}) == (1, {"ls"})


@pytest.mark.parametrize("place", ["lib64/python3.11", "lib/pypy3.10", "lib/python3.13t"])
def test_every_folder_that_some_python_imports_from_is_looked_at(check, venv, place):
    (venv / place / "site-packages").mkdir(parents=True)
    (venv / place / "site-packages/evil.pth").write_text("import os\n")
    code, rows = check("--venv", venv)
    assert (code, bad(rows)) == (1, {("evil.pth", "additional: no package owns it")})


def test_an_environment_that_imports_from_outside_is_refused(check, venv):
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    assert check("--venv", venv)[0] == 0
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\nInclude-System-Site-Packages = TRUE \n")
    code, rows = check("--venv", venv)
    assert (code, len(bad(rows))) == (1, 1)
    (venv / "pyvenv.cfg").unlink()
    (venv / "lib64").symlink_to("lib")
    assert check("--venv", venv)[0] == 0
