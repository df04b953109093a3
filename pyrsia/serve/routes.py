"""What the tables of addresses have in common: one row an address, and how its parameters are read.

Strict: a parameter that is not what it must be is a 400 that says so, and so is one that the address does not
have or that is given twice. A misspelt filter that is silently left out would answer another question.
"""

from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from pyrsia.errors import Refusal
from pyrsia.serve.desks.knowing import AsOf
from pyrsia.serve.desks.views import Admin
from pyrsia.units import Limit

JSON: Final = "application/json"
MAX_NUMBER: Final = 2**53 - 1  # what every JSON reader keeps exact

WHOLE: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
TEXT: Final[dict[str, Any]] = {"type": "string"}


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of the query: its meaning for people, its schema for the OpenAPI document."""

    name: str
    why: str
    schema: dict[str, Any]


# The moment that a question is about: none is now.
AS_OF: Final = (
    Param("as_of", "answer as if the log ended at this size", WHOLE),
    Param("as_of_time", "answer as if the log ended with the last block of this time", WHOLE),
)

Handler = Callable[[Admin, Request], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """One address: `answer` and `body` are types (None: bytes), `query` its parameters.

    Attributes:
        at_once: how many requests may be under way, from the body's first byte to the answer's last; None for any.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: Any
    body: Any = None
    query: tuple[Param, ...] = ()
    media: str = JSON
    status: int = 200
    refusals: tuple[str, ...] = ()
    at_once: Limit | None = None


def number(request: Request, name: str, default: int, *, most: int = MAX_NUMBER) -> int:
    """The whole number `name`, `default` where it is absent, `most` where it is more.

    Raises:
        Refusal: `bad-request`.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= MAX_NUMBER):
        raise bad(f"the parameter `{name}` is not a whole number", do=f"send {name}=<number>")
    return min(int(text), most)


def moment(request: Request) -> AsOf:
    """The moment that a request names by `AS_OF`.

    Raises:
        Refusal: `bad-request`: two of them, or no number.
    """
    size, time_ms = number(request, "as_of", -1), number(request, "as_of_time", -1)
    if min(size, time_ms) >= 0:
        raise bad("the question names two moments", do="send as_of or as_of_time")
    return AsOf(size if size >= 0 else None, time_ms if time_ms >= 0 else None)


def refuse_then(given: Container[str], taken: Container[str] = ()) -> None:
    """Refuse a moment of the past where only now can be told of: to leave it out would answer another question.

    Args:
        given, taken: parameters of the request, and those that its address has.

    Raises:
        Refusal: `bad-request`.
    """
    for param in AS_OF:
        if param.name in given and param.name not in taken:
            raise bad(
                f"this address tells of now alone, and takes no `{param.name}`",
                do="ask about then where it is known: /api/v1/inspect, /api/v1/facts, /api/v1/search, /api/v1/members,"
                " /api/v1/log/entries, /api/v1/packages/overview, POST /api/v1/audit",
            )


def only(request: Request, params: tuple[Param, ...]) -> None:
    """Refuse parameters that the address does not have, and those that are given twice.

    Raises:
        Refusal: `bad-request`.
    """
    known = {param.name for param in params}
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise bad(
                f"there is no parameter `{name[:40]}`", do=f"use {', '.join(param.name for param in params)}"
            )
        if given.count(name) > 1:
            raise bad(f"the parameter `{name}` is given twice", do="send it once")


def bad(what: str, *, do: str) -> Refusal:
    return Refusal("bad-request", what=what, who="the client's request", do=do)
