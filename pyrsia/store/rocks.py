"""RocksDB behind one small face: families, batches, group commit, and errors with a name.

`write` makes a batch visible at once; `sync` makes everything written before it durable. N tasks that
wait share one flush, made in a worker thread (rocksdict holds the GIL in `write` but not in `flush_wal`).
Damage that is met while the database runs is noted beside it, for the next start to act on (`rescue`).

Source: docs/storage.md, "Database", "Start and recovery".
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import trio
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBRecoveryMode,
    Options,
    Rdict,
    Snapshot,
    WriteBatch,
    WriteOptions,
)

from pyrsia.errors import DatabaseDamaged, Refusal, Unavailable
from pyrsia.store import layout
from pyrsia.store.aside import Aside
from pyrsia.store.turns import Turns
from pyrsia.units import MAX_BATCH_BYTES, Limit

# By default each family has 128 MiB of these and 32 MiB of cache, and a log of a million leaves 230 MB of memory.
WRITE_BUFFER_BYTES = Limit(
    32 << 20, "of all families together, what waits to become a table: some batches, replayed in a blink"
)
CACHE_BYTES = Limit(
    16 << 20, "of all families together, unpacked blocks of tables: a hot few; the system caches the files"
)

POUR_S = Limit(60, "a disk that takes no table for a minute is not slow, it is broken")

_BEHIND_ALL = b"\xff" * 64  # no key is as large: those of hashes have 32 bytes, the others begin below 0x80
_STALLED_S = 0.05
_NO_KEY = "key not found"  # rocksdict's words (it is pinned exactly); a test holds them

Witness = Callable[[int], Callable[[], Awaitable[None]]]
"""Asked before a flush, with the sequence that it covers; what it gives is awaited once that is on disk."""


class Batch:
    """Changes that become visible together or not at all, in the order in which they were added."""

    __slots__ = ("_count", "_groups", "cleared", "size")

    def __init__(self) -> None:
        self._groups: list[tuple[str, Iterable[tuple[bytes, bytes | None]]]] = []
        self._count = 0
        self.cleared: list[str] = []
        self.size = 0

    def put(self, family: str, key: bytes, value: bytes) -> "Batch":
        self._groups.append((family, ((key, value),)))
        self._count += 1
        self.size += len(key) + len(value)
        return self

    def delete(self, family: str, key: bytes) -> "Batch":
        self._groups.append((family, ((key, None),)))
        self._count += 1
        self.size += len(key)
        return self

    def put_all(self, family: str, rows: Mapping[bytes, bytes | None]) -> "Batch":
        """All of `rows`, which must not change any more; None deletes."""
        if rows:
            self._groups.append((family, rows.items()))
            self._count += len(rows)
            self.size += sum(map(len, rows)) + sum(map(len, filter(None, rows.values())))
        return self

    def clear(self, family: str) -> "Batch":
        """Everything that is in the family goes, before what else the batch does to it."""
        self.cleared.append(family)
        return self

    def __len__(self) -> int:
        return self._count + len(self.cleared)

    def __iter__(self) -> Iterator[tuple[str, bytes, bytes | None]]:
        return ((family, key, value) for family, rows in self._groups for key, value in rows)

    def groups(self) -> Iterator[tuple[str, Iterable[tuple[bytes, bytes | None]]]]:
        """The same, group by group as they were added."""
        return iter(self._groups)


class Database:
    """One node's facts. Open it through `open`; close it once."""

    def __init__(self, path: Path, rdict: Rdict) -> None:
        self.path = path
        self._rdict = rdict
        self._families = {name: rdict.get_column_family(name) for name in layout.FAMILIES}
        self._handles = {name: rdict.get_column_family_handle(name) for name in layout.FAMILIES}
        options = WriteOptions()
        options.no_slowdown = True  # a stall inside `write` would freeze the whole node
        rdict.set_write_options(options)
        self.witness: Witness | None = None  # hears of every sync before those who wait for it
        self._written = 0
        self._synced = 0
        self._lost = ""  # what a flush failed with, once
        self._flushing = Turns()
        self._aside = Aside()
        self._closed = False
        self._frozen: set[Frozen] = set()

    @classmethod
    def open(cls, path: Path, *, point_in_time: bool = False) -> "Database":
        """Open or create the database at `path`.

        A torn end of RocksDB's own log is cut off, for it was never synced; nothing here can tell it from
        one that was synced and is gone, so whoever has a record of what was acknowledged compares it.

        Args:
            point_in_time: stop at the first broken record instead of refusing; for copies only.

        Raises:
            Refusal: `data-in-use` or `data-damaged`.
            Unavailable: the disk said no.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        cache = Cache(CACHE_BYTES.value)
        options = _options(cache)
        mode = (
            DBRecoveryMode.point_in_time()
            if point_in_time
            else DBRecoveryMode.tolerate_corrupted_tail_records()
        )
        options.set_wal_recovery_mode(mode)
        try:
            families = {name: _options(cache) for name in layout.FAMILIES}
            rdict = Rdict(str(path), options, column_families=families)
        except Exception as error:  # noqa: BLE001 (rocksdict raises bare Exception; classified by text)
            raise classify(error, path) from None
        return cls(path, rdict)

    def get(self, family: str, key: bytes) -> bytes | None:
        try:
            found: bytes | None = self._families[family].get(key)
        except Exception as error:  # noqa: BLE001 (as in `_ask`, which is too dear for what is asked most)
            raise self._told(error) from None
        return found

    def multi_get(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        return list(self._ask(lambda: self._families[family].get(list(keys))))

    def scan(
        self, family: str, start: bytes, limit: int, *, before: bytes | None = None
    ) -> list[tuple[bytes, bytes]]:
        """At most `limit` pairs from `start` on, in key order; only keys below `before`, if given."""

        def walk() -> list[tuple[bytes, bytes]]:
            found: list[tuple[bytes, bytes]] = []
            at = self._families[family].iter()
            try:
                at.seek(start)
                while at.valid() and len(found) < limit:
                    key = at.key()
                    if before is not None and key >= before:
                        break
                    found.append((key, at.value()))
                    at.next()
                at.status()  # a damaged block ends a scan like the last pair does; this raises
            finally:
                del at  # an error's traceback would keep it alive, and it the database's lock
            return found

        return list(self._ask(walk))

    def at_or_before(self, family: str, key: bytes) -> tuple[bytes, bytes] | None:
        """The pair with the largest key that is not above `key`."""

        def walk() -> tuple[bytes, bytes] | None:
            at = self._families[family].iter()
            try:
                at.seek_for_prev(key)
                found = (at.key(), at.value()) if at.valid() else None
                at.status()
            finally:
                del at
            return found

        found: tuple[bytes, bytes] | None = self._ask(walk)
        return found

    def write(self, batch: Batch) -> int:
        """Make `batch` visible. Not durable before `sync`. Returns its number."""
        if batch.size > MAX_BATCH_BYTES.value:
            raise ValueError(f"a batch of {batch.size} bytes; at most {MAX_BATCH_BYTES.value}")
        raw = WriteBatch(raw_mode=True)
        for family in batch.cleared:
            raw.delete_range(b"", _BEHIND_ALL, self._handles[family])
        put = raw.put
        for family, rows in batch.groups():
            handle = self._handles[family]
            for key, value in rows:
                if value is None:
                    raw.delete(key, handle)
                else:
                    put(key, value, handle)
        self._ask(lambda: self._rdict.write(raw))
        self._written += 1
        return self._written

    async def pour(self, batch: Batch) -> None:
        """`write` for who brings more than the tables take at once: waits while they are behind.

        Raises:
            Unavailable: the disk said no, or is behind for longer than POUR_S.
        """
        with trio.move_on_after(POUR_S.value):
            while True:
                try:
                    self.write(batch)
                    return
                except Unavailable as error:
                    if "stall" not in str(error).lower():
                        raise
                await trio.sleep(_STALLED_S)
        raise Unavailable(f"the database {self.path} does not keep up with what is written")

    def freeze(self, families: Sequence[str]) -> "Frozen":
        """These families as they are now, for reading while the database goes on; `close` it soon.

        What it sees cannot be cleaned up before, so it costs room as the database changes.
        """
        found = Frozen(
            {name: self._ask(self._families[name].snapshot) for name in families}, self._ask, self._frozen
        )
        self._frozen.add(found)
        return found

    async def sync(self) -> None:
        """Return when everything written before this call is on disk.

        Raises:
            Unavailable: the disk said no, now or at an earlier flush.
        """
        wanted = self._written
        while self._synced < wanted:
            async with self._flushing:
                if self._synced >= wanted:
                    return
                covers = self._written
                told = None if self.witness is None else self.witness(self.sequence)
                await self._aside.run(self.flush)
                if told is not None:
                    await told()
                self._synced = max(self._synced, covers)

    async def commit(self, batch: Batch) -> None:
        self.write(batch)
        await self.sync()

    def flush(self) -> None:
        """Make what was written durable; blocks, tells no witness: for starts, and for `sync`.

        A flush that failed is not tried again: the system may have dropped the pages, and would say yes.

        Raises:
            Unavailable: the disk said no, now or at an earlier flush.
        """
        if self._lost:
            raise Unavailable(self._lost)
        try:
            self._ask(lambda: self._rdict.flush_wal(True))
        except Exception as error:
            self._lost = str(error)
            raise

    @property
    def sequence(self) -> int:
        return int(self._rdict.latest_sequence_number())

    def close(self) -> None:
        """Move what is in memory into tables and let go of the files.

        Raises:
            Unavailable: the disk said no. What was synced is in the log of the database all the same.
        """
        if self._closed:
            return
        self._closed = True
        self._aside.close()
        for frozen in tuple(self._frozen):
            frozen.close()
        with (
            ExitStack() as steps
        ):  # each is done whatever became of the others; the last to be added comes first
            steps.callback(self._ask, self._rdict.close)
            for family in self._families.values():
                steps.callback(self._ask, family.close)
            self._families.clear()
            self._handles.clear()  # a handle that lives on would keep the database's lock

    def _ask(self, work: Any) -> Any:
        try:
            return work()
        except Exception as error:  # noqa: BLE001 (rocksdict raises bare Exception; classified by text)
            raise self._told(error) from None

    def _told(self, error: Exception) -> Exception:
        """What an error of the database means; damage is noted for the next start."""
        found = classify(error, self.path)
        if isinstance(found, DatabaseDamaged):
            suspect(self.path, found.what)
        return found


class Frozen:
    """Some families of a database as they were at one moment."""

    def __init__(
        self, snapshots: dict[str, Snapshot], ask: Callable[[Any], Any], among: "set[Frozen]"
    ) -> None:
        self._snapshots = snapshots
        self._ask = ask
        self._among = among

    def get(self, family: str, key: bytes) -> bytes | None:
        """The value at that moment.

        Raises:
            Unavailable: it is closed.
        """
        [found] = self.multi_get(family, (key,))
        return found

    def multi_get(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values in the order asked; as `get`."""
        snapshot = self._snapshots.get(family)
        if snapshot is None:
            raise Unavailable("this moment of the database is kept no more")

        def one(key: bytes) -> bytes | None:
            try:
                found: bytes = snapshot[key]
            except Exception as error:
                if str(error) == _NO_KEY:
                    return None
                raise
            return found

        return list(self._ask(lambda: [one(key) for key in keys]))

    def close(self) -> None:
        """Let go of it. Calling it twice is harmless."""
        self._snapshots = {}
        self._among.discard(self)


def suspicion(path: Path) -> Path:
    """Where damage of the database at `path` is noted while it runs."""
    return path.with_name(f"{path.name}.suspect")


def suspect(path: Path, what: str) -> None:
    """Note damage that was met while the database at `path` runs: the next start sets it aside."""
    with suppress(OSError):  # the refusal is on its way in any case
        suspicion(path).write_text(what, encoding="utf-8")


def _options(cache: Cache) -> Options:
    options = Options(raw_mode=True)  # the default mode unpickles: code execution by a changed file
    options.set_db_write_buffer_size(WRITE_BUFFER_BYTES.value)
    tables = BlockBasedOptions()
    tables.set_block_cache(cache)
    options.set_block_based_table_factory(tables)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_allow_concurrent_memtable_write(False)  # there is one writer, and it pays a tenth for others
    options.set_max_log_file_size(1 << 20)
    options.set_keep_log_file_num(2)
    return options


def classify(error: Exception, path: Path) -> Exception:
    """What a bare rocksdict error means, by the first words of its text (rocksdict is pinned exactly)."""
    text = str(error)
    if "lock hold by" in text or "/LOCK: Resource temporarily unavailable" in text:
        return Refusal(
            "data-in-use",
            what=f"the database {path} is open elsewhere",
            who="another Pyrsia process",
            do="stop it, or name another data directory",
        )
    # A file that the database names and that is gone is damage too, whatever RocksDB calls it.
    if text.startswith("Corruption") or "No such file or directory" in text:
        return DatabaseDamaged(f"the database {path} is damaged: {text[:200]}")
    return Unavailable(f"the database {path}: {text[:200]}")
