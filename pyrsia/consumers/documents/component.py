"""One component of a document that lists what is inside something. Plain data."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Component:
    """As the document says it.

    Attributes:
        purl: in the one spelling that the log has, with its version where the document names one; "" for what has
            no purl, or one that cannot be written so.
        sha256: of its file, lower-case hex; "" where the document has none.
        licence: an SPDX expression or a name; "" where the document has none.
        ref: what the document calls it (a bom-ref, an SPDXID); `line`: where its purl is first named, 0 where nobody
            can say. Both say where it stands, and nothing of what it is.
    """

    purl: str
    name: str
    version: str
    sha256: str
    licence: str
    ref: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)
