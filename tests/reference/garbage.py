"""What a test leaves behind for the collector, collected there and then, so that what it warns of is this test's."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collected() -> Iterator[None]:
    """Collect at the end what the block made and nothing refers to any more.

    Only that: what is older is not looked through, for the heap of a whole run is that of thousands of tests. A cycle
    that an older object is part of is not found, so the block has to make all of what it looks for.
    """
    gc.collect(1)  # what is young grows old
    gc.disable()  # and what comes stays young, however much it is
    try:
        yield
    finally:
        gc.collect(0)
        gc.enable()
