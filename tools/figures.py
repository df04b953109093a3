"""The figures of a bench run in a table: `figures.py BENCHMARK_JSON`."""

import json
import sys
from pathlib import Path


def main() -> None:
    rows = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["benchmarks"]
    for row in sorted(rows, key=lambda row: row["fullname"]):
        figures = ", ".join(f"{name} {value}" for name, value in row["extra_info"].items())
        print(f"{row['fullname']:<70} median {row['stats']['median'] * 1000:10.3f} ms  {figures}")


if __name__ == "__main__":
    main()
