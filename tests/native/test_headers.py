"""The headers on their own, as other compiled modules and other processors get them.

Compiled with warnings as errors. Under the address sanitizer a byte read beyond a message ends the run; under
that of undefined behaviour, which the vectors' compile time is too long for, also a shift too far.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.native.test_merkle import KERNELS, NATIVE

DRIVER = Path(__file__).with_name("driver.c")
WORDS = ["portable", "avx2", "shani", "other"]
SIZES = [
    0,
    1,
    54,
    55,
    56,
    57,
    63,
    64,
    65,
    118,
    119,
    120,
    127,
    128,
    183,
    184,
    1014,
    1015,
    1016,
    1078,
    1079,
    65536,
]
STRICT = ["-std=gnu99", "-Wall", "-Wextra", "-Werror", "-Wno-psabi"]


def driven(folder: Path, *options: str) -> dict[str, list[str]]:
    """What the driver prints for each word, built with `options`."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = folder / "driver"
    built = subprocess.run(
        [compiler, *STRICT, *options, f"-I{NATIVE}", str(DRIVER), "-o", str(program)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    environment = {name: value for name, value in os.environ.items() if name != "PYRSIA_SHA256"}
    environment["ASAN_OPTIONS"] = "detect_leaks=0"  # that part needs ptrace, which containers forbid
    done = subprocess.run(
        [str(program), *WORDS], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        word, rest = line.split(maxsplit=1)
        found.setdefault(word, []).append(rest)
    return found


def made(size: int, number: int) -> bytes:
    return bytes((i * 7 + number) % 251 for i in range(size))


def expected() -> list[str]:
    messages = [made(size, number) for number, size in enumerate(SIZES)]
    pairs = [made(64, number) for number in range(len(SIZES))]
    rows = {
        "leaf": [b"\0" + message for message in messages],
        "message": messages,
        "node": [bytes([11 * number]) + pair for number, pair in enumerate(pairs)],
        "pair": pairs,
        "inplace": [b"\7" + pair for pair in pairs],
    }
    return [
        f"{what} {number} {hashlib.sha256(data).hexdigest()}"
        for what, row in rows.items()
        for number, data in enumerate(row)
    ]


def test_every_kernel_reads_its_messages_and_no_byte_beyond(tmp_path: Path) -> None:
    found = driven(tmp_path, "-O0", "-fsanitize=address")
    want = expected()
    assert len(want) == 5 * len(SIZES)
    for name in KERNELS:
        assert found[name] == want
    assert found["default"] == [KERNELS[-1]]
    assert "not built in" in found["other:"][0]


def test_another_processor_gets_the_portable_kernel_alone(tmp_path: Path) -> None:
    found = driven(
        tmp_path, "-O1", "-DSHA256_PORTABLE_ONLY", "-fsanitize=address,undefined", "-fno-sanitize-recover"
    )
    assert found["portable"] == expected()
    assert found["default"] == ["portable"]
    for word in ("avx2:", "shani:", "other:"):
        assert "not built in; set it to portable, or unset it" in found[word][0]


def test_a_processor_that_cannot_run_the_choice_says_so(tmp_path: Path) -> None:
    found = driven(tmp_path, "-O1", "-DSHA256_PLAIN_CPU")
    assert found["portable"] == expected()
    if len(found) > 2:  # x86-64
        for word in ("avx2:", "shani:"):
            assert "this processor cannot run; set it to portable, or unset it" in found[word][0]
