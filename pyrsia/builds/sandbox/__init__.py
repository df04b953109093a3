"""Runs a stranger's program: limits, no network, none of the node's secrets, nothing left behind.

model        what a job is and what comes back       survey      what this host gives; choose()
bubblewrap   backend `namespace`, by that program    unshare     the same, by util-linux and our own mounts
namespaces   what those two share                    confined    backend `confined`
world        a job's file system, as steps           enter       carries the steps out, inside
supervise    start, stream, watch, end               watcher     what a tree uses; the end of it
launcher     the program that confines and reaps     cgroups     what the kernel bounds for us
egress       the one way out of a planning job       collect     reads back what a job left
seccomp      the two system call filters             landlock    which files, in Landlock's words
host         what of this host a job must see        specify     what the launcher is told
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
