"""Work spread over threads, with answers in the order of the questions and a bound on what waits.

Threads serve because everything heavy (hashing, comparing, reading) lets the interpreter go. The order is what
makes "the first wrong thing" mean the same on every machine.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pyrsia.units import Limit

AHEAD = Limit(
    3, "items a thread that are begun before the first answer is taken: none idles behind a slow one"
)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_order(
    work: Callable[[Item], Answer], items: Iterable[Item], lanes: int, *, on_failure: Callable[[], None]
) -> Iterator[Answer]:
    """`work` of each item, in their order, by `lanes` threads.

    The first failure in that order ends it: nothing more is begun, and `on_failure` makes what is under way
    end soon.
    """
    waiting: deque[Future[Answer]] = deque()
    pool = ThreadPoolExecutor(lanes, thread_name_prefix="log-reader")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= lanes * AHEAD.value:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        on_failure()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
