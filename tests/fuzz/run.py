"""One target under atheris: `python -m tests.fuzz.run TARGET SECONDS`. Ends with libFuzzer's own statistics.

It begins with the kept corpus and grows a folder of its own below `.cache/fuzz/`; what breaks a law is written
beside the kept inputs, so that the ordinary suite fails until it is mended.
"""

import importlib
import sys

import atheris

from tests.fuzz.corpora import CORPUS, GROWN
from tests.fuzz.mutate import mutate


def main() -> None:
    name, seconds = sys.argv[1:3]
    with atheris.instrument_imports(include=["pyrsia"]):
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    grown = GROWN / name
    grown.mkdir(parents=True, exist_ok=True)
    options = [f"-max_len={target.MAX_BYTES}", "-timeout=10", "-rss_limit_mb=2048"]
    options += [f"-max_total_time={int(seconds)}", f"-artifact_prefix={CORPUS / name / 'found-'}"]
    options += ["-print_final_stats=1", str(grown), str(CORPUS / name)]
    mutator = {"custom_mutator": mutate} if getattr(target, "JSON", False) else {}
    atheris.Setup([sys.argv[0], *options], lambda data: target.check(data) and None, **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
