"""Build environments by digest: what a build runs in.

model     what an environment is, and which one a plan takes
lock      the list that a file system is a pure function of
recipes   named definitions: which packages, which links, what is left out
apt       a lock from Debian's signed lists, and its files
making    lock -> archive -> folder, all in the sandbox
store     the folder of environments of one machine
deb, tree, tarball, facts, worker   what runs inside the sandbox
"""

from .model import HOST, ROOTFS, Environment, Environments, HostOnly, choose, find

__all__ = ["HOST", "ROOTFS", "Environment", "Environments", "HostOnly", "choose", "find"]
