"""A Maven repository for unchanged clients: `/maven2/` over the log, this node's shelf, and upstream.

- `paths`: what a path names.
- `names`: who owns a package and what is there, remembered until something changes.
- `lists`, `snapshots`: `maven-metadata.xml` at every level, made anew and never stored.
- `sums`: the checksums of a file, once.
- `giving`: files of the log, of the shelf and of upstream; `proxied`: upstream's, checked on their way.
- `listing`: lists, and whose they are; `theirs`: those of others, read beside the loop.
- `deploy`: PUT and DELETE.
- `refusals`: what a policy's no says to Maven.
- `app`: which of them answers.

Source: the layout of Maven 2 repositories; docs/consumers-maven.md.
"""

from pyrsia.serve.maven.app import PREFIX, MavenApp
from pyrsia.serve.maven.lists import metadata
from pyrsia.serve.maven.sums import SUMS

__all__ = ["PREFIX", "SUMS", "MavenApp", "metadata"]
