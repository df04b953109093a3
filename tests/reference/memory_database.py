"""A database in dicts that forgets what was not synced when the power goes: what `Blobs` and its kin ask of one."""

import trio


class MemoryDatabase:
    """`rows`: what is visible. What was written since the last sync is lost in part by `crash`."""

    def __init__(self):
        self.rows = {}
        self.durable = {}
        self.waiting = []
        self.off = False
        self.syncs = 0

    def get(self, family, key):
        return self.rows.get((family, key))

    def scan(self, family, start, limit, *, before=None):
        found = sorted(
            (key, value)
            for (name, key), value in self.rows.items()
            if name == family and key >= start and (before is None or key < before)
        )
        return found[:limit]

    def write(self, batch):
        if self.off:
            raise OSError("the power is off")
        changes = list(batch)
        self.waiting.append(changes)
        _apply(self.rows, changes)

    async def sync(self):
        covers = len(self.waiting)
        await trio.lowlevel.checkpoint()
        if self.off:
            raise OSError("the power is off")
        for changes in self.waiting[:covers]:
            _apply(self.durable, changes)
        del self.waiting[:covers]
        self.syncs += 1

    async def commit(self, batch):
        self.write(batch)
        await self.sync()

    def crash(self, kept):
        """The power was cut: of what was not synced the first `kept` batches are there. The one that starts again."""
        again = MemoryDatabase()
        again.durable = dict(self.durable)
        for changes in self.waiting[:kept]:
            _apply(again.durable, changes)
        again.rows = dict(again.durable)
        return again


def _apply(rows, changes):
    for family, key, value in changes:
        if value is None:
            rows.pop((family, key), None)
        else:
            rows[family, key] = value
