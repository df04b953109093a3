"""Where a document in JSON names a purl: the lines of an SBOM that people, and code scanning, go to.

Parsers of JSON tell no lines, so the text is looked through for the fields that hold purls.
"""

import json
import re
from typing import Final

from pyrsia.units import Limit

MAX_LINED = Limit(100_000, "purls of one document whose lines are told: twice what an audit takes")

# Possessive: a value may have 60 MB, and each place that it could be left again at would be remembered.
_FIELD: Final = re.compile(
    rb'"(?:purl|referenceLocator|software_packageUrl|identifier)"[ \t\r\n]*+:[ \t\r\n]*+"'
    rb'((?:[^"\\]++|\\.)*+)"',
    re.DOTALL,
)


def of_purls(data: bytes) -> dict[str, int]:
    """The first line of each purl, from 1, by the purl as it is written."""
    found: dict[str, int] = {}
    line, last = 1, 0
    for one in _FIELD.finditer(data):
        line += data.count(b"\n", last, one.start(1))
        last = one.start(1)
        found.setdefault(_text(one[1]), line)
        if len(found) >= MAX_LINED.value:
            break
    return found


def _text(written: bytes) -> str:
    if b"\\" not in written:
        return written.decode("utf-8", "replace")
    try:
        return str(json.loads(b'"%b"' % written))
    except ValueError:  # then the document is no JSON either
        return ""
