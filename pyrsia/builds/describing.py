"""What a package says of itself: a line about it, its home, its licence, its words; out of the file that says so.

Each ecosystem has its own place: METADATA of a wheel, the POM, the labels in an image's configuration. What they hold
is a stranger's text: it is cut to what a fact may hold, and what cannot be read says nothing. A licence is an SPDX
expression or a name for people; nobody guesses the one from the other, but for the classifiers that mean one licence.

Source: docs/knowledge.md, "What builders say"; core metadata 2.4; the POM reference; the OCI image annotations.
"""

import email.parser
import email.policy
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from pyrsia.builds.maven import poms
from pyrsia.builds.members import Hostile
from pyrsia.errors import Malformed
from pyrsia.units import MAX_FACT_BYTES, Limit

MAX_POM_BYTES = Limit(1 << 20, "the longest POM of Maven Central's thousand most used has 160 KB")
MAX_POM_ELEMENTS = Limit(50_000, "five times the project file of a large build, a twentieth of a second")
MAX_CONFIG_BYTES = Limit(1 << 20, "a configuration of an image with a thousand steps has 300 KB")
_TAGS: Final = 32  # as many as a fact may have (`ledger.bodies.facts`)

_LABEL: Final = re.compile(r"[!#-\[\]-~](?:[ !#-\[\]-~]{0,62}[!#-\[\]-~])?")
_DIGEST: Final = re.compile("sha256:([0-9a-f]{64})")
_HOME: Final = re.compile(r"https?://[!#-\[\]-~]{1,292}")
# Classifiers that mean one licence; "BSD License" and the like do not.
_CLASSIFIERS: Final = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
_LICENCE: Final = "License :: "


@dataclass(frozen=True, slots=True)
class Description:
    """As a fact can say it. `licence`: an SPDX expression, or ""; `licence_text`: what people call it."""

    text: str = ""
    homepage: str = ""
    tags: tuple[str, ...] = ()
    licence: str = ""
    licence_text: str = ""


def of_wheel(metadata: bytes) -> Description:
    """Out of METADATA."""
    message = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(metadata)

    def every(name: str) -> list[str]:
        return [str(one).strip() for one in message.get_all(name) or ()]

    def first(name: str) -> str:
        return next(iter(every(name)), "")

    links = dict(_link(one) for one in every("Project-URL"))
    told = [one.rpartition(" :: ")[2] for one in every("Classifier") if one.startswith(_LICENCE)]
    licence = _expression(first("License-Expression")) or _of_classifiers(told)
    words = re.split("[,;]" if re.search("[,;]", first("Keywords")) else r"\s+", first("Keywords"))
    return Description(
        text=_cut(first("Summary")),
        homepage=_home(first("Home-page"), links.get("homepage", ""), links.get("source", "")),
        tags=_tags(words),
        licence=licence or _expression(first("License")),
        licence_text=_cut(first("License-Expression") or first("License") or ", ".join(told)),
    )


def of_pom(data: bytes) -> Description:
    """Out of a POM; what its parent says is not read.

    Raises:
        Malformed: it is none.
    """
    if len(data) > MAX_POM_BYTES.value:
        raise Malformed(f"a POM of {len(data)} bytes")
    try:
        project = poms.read_xml(data, most=MAX_POM_ELEMENTS.value)
    except Hostile as error:
        raise Malformed(f"a POM that cannot be read: {error}") from None
    names = [one.get("name") for one in project.all("licenses/license")]
    return Description(
        text=_cut(project.get("description") or project.get("name")),
        homepage=_home(project.get("url"), project.get("scm/url")),
        licence=_expression(names[0]) if len(names) == 1 else "",
        licence_text=_cut(", ".join(filter(None, names))),
    )


def of_image(config: bytes) -> Description:
    """Out of an image's configuration: its labels.

    Raises:
        Malformed: it is none.
    """
    if len(config) > MAX_CONFIG_BYTES.value:
        raise Malformed(f"a configuration of {len(config)} bytes")
    found = _at(_at(_json(config), "config"), "Labels")

    def label(name: str) -> str:
        value = found.get(f"org.opencontainers.image.{name}")
        return value.strip() if isinstance(value, str) else ""

    return Description(
        text=_cut(label("description") or label("title")),
        homepage=_home(label("url"), label("source")),
        licence=_expression(label("licenses")),
        licence_text=_cut(label("licenses")),
    )


def config_of(manifest: bytes) -> str:
    """SHA-256 of the configuration that an image's manifest names; "" where it names none, as an index does.

    Raises:
        Malformed: it is no manifest.
    """
    if len(manifest) > MAX_CONFIG_BYTES.value:
        raise Malformed(f"a manifest of {len(manifest)} bytes")
    digest = _at(_json(manifest), "config").get("digest")
    found = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    return found[1] if found else ""


def _json(data: bytes) -> dict[str, Any]:
    """
    Raises:
        Malformed: it is no JSON object.
    """
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"a document that cannot be read: {error}") from None


def _at(told: dict[str, Any], name: str) -> dict[str, Any]:
    """The object of this name within another one, or an empty one."""
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _link(line: str) -> tuple[str, str]:
    name, _, url = line.partition(",")
    return re.sub("[^a-z]", "", name.lower()), url.strip()


def _of_classifiers(names: Iterable[str]) -> str:
    """The one licence that all of them mean; "" where there is another among them."""
    found = {_CLASSIFIERS.get(name, "") for name in names if name != "OSI Approved"}
    return found.pop() if len(found) == 1 else ""


def _expression(text: str) -> str:
    """`text` in SPDX's spelling, "" where it is no expression of it."""
    if not text or len(text) > 200:
        return ""
    try:
        found = str(canonicalize_license_expression(text))
    except (InvalidLicenseExpression, ValueError, RecursionError, MemoryError):
        return ""
    return found if len(found) <= 200 and found.isascii() else ""


def _home(*urls: str) -> str:
    return next((one for one in urls if _HOME.fullmatch(one)), "")


def _tags(words: Iterable[str]) -> tuple[str, ...]:
    fit = {one for one in (word.strip() for word in words) if _LABEL.fullmatch(one)}
    return tuple(sorted(fit)[:_TAGS])


def _cut(text: str) -> str:
    """One line, as long as a fact's text may be; a name of nothing is nothing."""
    line = " ".join(text.split())
    if line.upper() == "UNKNOWN":  # what old tools wrote where nothing was said
        return ""
    return line.encode("utf-8", "replace")[: MAX_FACT_BYTES.value].decode("utf-8", "ignore")
