"""How long a wait may take on the machine that runs the tests."""

import os


def slowed(seconds: float) -> float:
    """`seconds`, as they are promised for a machine that keeps up; more where others want its cores as well."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
