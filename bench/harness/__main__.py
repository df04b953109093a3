"""Tables without measuring.

python -m bench.harness RESULTS     the table of a file of JSON lines
python -m bench.harness             writes docs/performance.md's tables anew from bench/recorded.json
"""

import sys
from pathlib import Path

from bench.harness.gates import read_gates
from bench.harness.report import text, write_page
from bench.harness.results import read_lines, read_recorded


def main(arguments: list[str]) -> int:
    """See the module; the exit code."""
    gates, recorded = read_gates(), read_recorded()
    if not arguments:
        write_page(recorded, gates)
    elif len(arguments) == 1:
        sys.stdout.write(text(read_lines(Path(arguments[0])), gates, recorded))
    else:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
