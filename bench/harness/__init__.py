"""Measuring ours beside something plain, in one process run, in turns; ratios that must hold.

`rows` says what a row is, `measure` runs it, `gates` judges it, `results` keeps it, `report` shows it; `session`
ties them to pytest. How to add a row: bench/README.md. Why not a ready-made tool: docs/adr/0029-bench-harness.md.
"""

from bench.harness.measure import Figure as Figure
from bench.harness.measure import Timed as Timed
from bench.harness.measure import budget as budget
from bench.harness.rows import LONG as LONG
from bench.harness.rows import row as row
from bench.harness.session import Measure as Measure
