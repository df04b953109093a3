"""One target under atheris: `python -m tests.fuzz.run TARGET SECONDS`. Ends with libFuzzer's own statistics.

It begins with the kept corpus and grows a folder of its own below `.cache/fuzz/`; what breaks a law is written
beside the kept inputs, so that the ordinary suite fails until it is mended.

    python -m tests.fuzz.run TARGET merge     keeps the fewest inputs that reach what is reached
"""

import importlib
import shutil
import sys

import atheris

from tests.fuzz.corpora import CORPUS, GROWN
from tests.fuzz.mutate import mutate


def main() -> None:
    name, what = sys.argv[1:3]
    with atheris.instrument_imports(include=["pyrsia"]):
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    grown = GROWN / name
    grown.mkdir(parents=True, exist_ok=True)
    options = [f"-max_len={target.MAX_BYTES}", "-timeout=10", "-rss_limit_mb=2048"]
    if what == "merge":
        small = GROWN / f"{name}.small"
        shutil.rmtree(small, ignore_errors=True)
        small.mkdir()
        options += ["-merge=1", str(small), str(CORPUS / name), str(grown)]
    else:
        prefix = CORPUS / name / "found-"
        options += [f"-max_total_time={int(what)}", f"-artifact_prefix={prefix}", "-print_final_stats=1"]
        options += [str(grown), str(CORPUS / name)]
    mutator = {"custom_mutator": mutate} if getattr(target, "JSON", False) else {}
    atheris.Setup([sys.argv[0], *options], lambda data: target.check(data) and None, **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
