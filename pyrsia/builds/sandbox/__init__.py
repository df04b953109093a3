"""Runs a stranger's program: limits, no network, none of the node's secrets, nothing left behind.

model        what a job is and what comes back       survey     what this host gives; choose()
bubblewrap   backend `namespace`                      confined   backend `confined`
supervise    start, stream, watch, end                watcher    what a tree uses; the end of it
launcher     the program that confines and reaps      collect    reads back what a job left
seccomp      the two system call filters              landlock   which files, in Landlock's words
host         what of this host a job must see
"""

from .model import BuildLimits, HostSurvey, Isolation, Job, Mount, Outcome, Sandbox, Usage
from .survey import choose, survey

__all__ = [
    "BuildLimits",
    "HostSurvey",
    "Isolation",
    "Job",
    "Mount",
    "Outcome",
    "Sandbox",
    "Usage",
    "choose",
    "survey",
]
