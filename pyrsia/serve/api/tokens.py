"""The rows about tokens: make one, list them, revoke one. The node's operator only."""

import re
from typing import Final

from starlette.requests import Request

from pyrsia.serve.answers import not_found
from pyrsia.serve.api.members import decoded
from pyrsia.serve.desks.tokens import NAME, MadeToken, TokenOrder, TokensAnswer, TokenStatus
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.grants import require_admin
from pyrsia.serve.routes import Row


async def _tokens(admin: Admin, request: Request) -> TokensAnswer:
    require_admin(request.scope)
    return TokensAnswer(tuple(admin.tokens.list()), admin.tokens.failures)


async def _make_token(admin: Admin, request: Request) -> MadeToken:
    return await admin.tokens.make(await decoded(request, TokenOrder))


async def _revoke_token(admin: Admin, request: Request) -> TokenStatus:
    which: str = request.path_params["which"]
    if not re.fullmatch(NAME, which):
        raise not_found("the address ends in no name of a token")
    return await admin.tokens.revoke(which)


TOKEN_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/tokens", _tokens, "Tokens that are in force", TokensAnswer, refusals=("forbidden",)),
    Row("POST", "/api/v1/tokens", _make_token, "Make a token, which is told once", MadeToken, TokenOrder,
        status=201, refusals=("bad-request", "forbidden", "conflict", "too-large", "unavailable")),
    Row("POST", "/api/v1/tokens/{which}/revoke", _revoke_token, "End a token by its name or id", TokenStatus,
        refusals=("forbidden", "not-found", "unavailable")),
)  # fmt: skip
