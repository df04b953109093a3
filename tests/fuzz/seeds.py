"""Write the seeds of every target anew: `python -m tests.fuzz.seeds`. Other kept inputs stay."""

import re

from tests.fuzz.corpora import CORPUS, target, targets


def main() -> None:
    for name in targets():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("seed-*"):
            old.unlink()
        for word, data in target(name).seeds().items():
            (folder / f"seed-{re.sub('[^A-Za-z0-9.-]+', '-', word).strip('-')}").write_bytes(data)


if __name__ == "__main__":
    main()
