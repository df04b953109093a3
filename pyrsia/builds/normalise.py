"""The wheel normaliser `wheel@1`: one canonical packing for one set of members.

Decides what a wheel is (names, one `.dist-info`, a RECORD that describes every member) and writes its
canonical form: members sorted, one time for all, modes 0644 or 0755, stored, no folders, RECORD
recomputed last. Equal members give equal canonical bytes on every machine, because no compressor and no
library version takes part. What was normalised away is listed, never hidden.

It runs inside the sandbox and imports only the standard library.

Source: docs/builds-pip.md, "Normalising"; the wheel format (PEP 427, PEP 376).
"""

import base64
import csv
import hashlib
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from pyrsia.builds import members_zip
from pyrsia.builds.members import Hostile, Member, is_record, shown
from pyrsia.builds.members_zip import EARLIEST, ZipMember
from pyrsia.builds.zips import Writer, dos_time
from pyrsia.units import MAX_METADATA_BYTES

NORMALISER: Final = "wheel@1"
_SIGNATURES: Final = (".dist-info/RECORD.jws", ".dist-info/RECORD.p7s")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that was read whole and found consistent.

    Attributes:
        records: as packed, in directory order.
        members: the files with their digests, sorted by path.
        info: the name of its `.dist-info` folder.
        metadata: the bytes of METADATA.
    """

    records: tuple[ZipMember, ...]
    members: tuple[Member, ...]
    info: str
    metadata: bytes


def inspect(file: BinaryIO) -> Wheel:
    """Read and check a wheel, every byte of it.

    Raises:
        Hostile: it is no wheel that may be published; the text says why.
    """
    records = members_zip.read(file, strict=True)
    files = [one for one in records if not one.folder]
    info = _info_folder(files)
    small: dict[str, bytes] = {}
    members = []
    for one in files:
        digest, kept = hashlib.sha256(), bytearray()
        keep = one.path in (f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD")
        if keep and one.size > 4 * MAX_METADATA_BYTES.value:
            raise Hostile(f"{shown(one.path)} has {one.size} bytes")
        for piece in members_zip.content(file, one):
            digest.update(piece)
            if keep:
                kept += piece
        if keep:
            small[one.path] = bytes(kept)
        members.append(Member(one.path, digest.hexdigest(), one.size, one.exec))
    members.sort()
    for needed in ("METADATA", "WHEEL", "RECORD"):
        if f"{info}/{needed}" not in small:
            raise Hostile(f"the wheel has no {needed}")
    if len(small[f"{info}/METADATA"]) > MAX_METADATA_BYTES.value:
        raise Hostile("the METADATA is too large")
    _check_record(small[f"{info}/RECORD"], members, info)
    return Wheel(tuple(records), tuple(members), info, small[f"{info}/METADATA"])


def rewrite(file: BinaryIO, wheel: Wheel, out: BinaryIO, time_s: int) -> tuple[Member, ...]:
    """Write the canonical form of `wheel` to `out`; the members of what was written.

    Args:
        file: the wheel's bytes, as given to `inspect`.
        time_s: the one time of every member (the build's SOURCE_DATE_EPOCH).
    """
    by_path = {one.path: one for one in wheel.records if not one.folder}
    record = record_of(wheel.members, wheel.info)
    kept = [one for one in wheel.members if not is_record(one.path)]
    name = f"{wheel.info}/RECORD"
    last = Member(name, hashlib.sha256(record).hexdigest(), len(record), exec=False)
    packed = Writer(out, time_s)
    for one in kept:
        source = by_path[one.path]
        pieces = members_zip.content(file, source)
        packed.add(one.path, one.size, source.crc, pieces, executable=one.exec)
    packed.add(name, last.size, zlib.crc32(record), (record,), executable=False)
    packed.finish()
    return tuple(sorted([*kept, last]))


def record_of(members: Sequence[Member], info: str) -> bytes:
    """The RECORD of a wheel with `members`: sorted, SHA-256, itself last and without a digest."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for one in sorted(members):
        if not is_record(one.path):
            digest = base64.urlsafe_b64encode(bytes.fromhex(one.sha256)).rstrip(b"=").decode()
            writer.writerow((one.path, f"sha256={digest}", one.size))
    writer.writerow((f"{info}/RECORD", "", ""))
    return text.getvalue().encode("utf-8")


def removed(wheel: Wheel, time_s: int) -> list[str]:
    """What `rewrite` takes away, as `what:count`; sorted."""
    files = [one for one in wheel.records if not one.folder]
    paths = [one.path for one in files if not is_record(one.path)]
    counts = {
        "zip-compression": sum(one.method != 0 for one in files),
        "zip-folders": len(wheel.records) - len(files),
        "zip-mode": sum(one.mode != (0o755 if one.exec else 0o644) for one in files),
        "zip-order": int(paths != sorted(paths) or not is_record(files[-1].path)),
        "zip-time": sum(dos_time(one.time) != dos_time(time_s) for one in files),
    }
    return [f"{what}:{count}" for what, count in sorted(counts.items()) if count]


def newest_time(wheel_records: Sequence[ZipMember]) -> int:
    """The newest member time in s since 1970."""
    return max((one.time for one in wheel_records), default=EARLIEST)


def _info_folder(files: Sequence[ZipMember]) -> str:
    found = {match[1] for one in files if (match := re.match(r"([^/]+\.dist-info)/", one.path)) is not None}
    if len(found) != 1:
        raise Hostile(f"a wheel has one .dist-info folder, this one has {len(found)}")
    return found.pop()


def _check_record(data: bytes, members: Sequence[Member], info: str) -> None:
    """Every member stands in RECORD with its digest and size, and nothing else does (PEP 376, PEP 427)."""
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Hostile("RECORD cannot be read") from error
    listed: dict[str, tuple[str, str]] = {}
    for row in rows:
        if len(row) != 3 or row[0] in listed:
            raise Hostile("RECORD has a broken or a second line for one member")
        listed[row[0]] = (row[1], row[2])
    exempt = {info + suffix.removeprefix(".dist-info") for suffix in (".dist-info/RECORD", *_SIGNATURES)}
    for one in members:
        digest, size = listed.pop(one.path, ("", ""))
        if one.path in exempt:
            continue
        kind, _, text = digest.partition("=")
        try:
            value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()
        except ValueError:
            value = ""
        # Stronger digests are allowed by the format, but only SHA-256 was taken here.
        if kind != "sha256" or value != one.sha256 or size not in ("", str(one.size)):
            raise Hostile(f"RECORD does not describe {shown(one.path)}")
    if set(listed) - exempt:
        raise Hostile(f"RECORD names {shown(min(set(listed) - exempt))}, which is not in the wheel")
