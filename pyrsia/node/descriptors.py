"""As many open files as the system lets this process have: a login shell gives 1,024 and allows many more.

256 links with three connections each, the database and those who ask over HTTP do not fit into those.
"""

import logging
import resource

from pyrsia.units import Limit

WANTED = Limit(
    65_536, "256 links of three, 1,024 clients, the database; more helps nobody, and lists of them grow long"
)

_log = logging.getLogger("pyrsia.node")


def enough() -> int:
    """Raise the soft limit towards the hard one, never above what is wanted and never down; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    best = WANTED.value if hard == endless else min(hard, WANTED.value)
    if soft == endless or soft >= best:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
    except (OSError, ValueError) as error:  # whoever keeps us may forbid even that
        _log.info("this node may open %d files and no more: %s", soft, error)
        return soft
    return best
