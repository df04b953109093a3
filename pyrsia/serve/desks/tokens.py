"""Tokens as the API tells them, and what the node's desk for them can do. No decisions."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, Protocol

import msgspec

_DAY_S: Final = 86_400
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

Text = Annotated[str, msgspec.Meta(max_length=300)]


class TokenOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to make.

    Attributes:
        package: glob of the purls that a push token may push, without versions; "" for all.
        name: "" for one made of scope and id.
    """

    scope: Literal["read", "push", "admin"]
    package: Text = ""
    name: Text = ""
    expires_s: Annotated[int, msgspec.Meta(ge=60, le=3_660 * _DAY_S)] = 90 * _DAY_S


class TokenStatus(msgspec.Struct, frozen=True):
    """What is known of a token, which is not the token.

    Attributes:
        used_ms: when it was shown last, since this node started; 0 for never.
    """

    id: str
    name: str
    scope: str
    package: str
    made_ms: int
    expires_ms: int
    used_ms: int = 0


class MadeToken(msgspec.Struct, frozen=True):
    """A new token, which is told this once."""

    token: str
    status: TokenStatus


class TokensAnswer(msgspec.Struct, frozen=True):
    """Every token that is in force. `failures`: requests with none of them since this node started."""

    tokens: tuple[TokenStatus, ...]
    failures: int = 0


class TokenDesk(Protocol):
    """Where tokens are made and ended."""

    failures: int

    async def make(self, order: TokenOrder) -> MadeToken:
        """A token that is in force, and will be after a power cut, when this returns.

        Raises:
            Refusal: `bad-request` for its name or pattern, `conflict` for a name that is taken, `too-large` where
                there are enough of them.
        """
        ...

    def list(self) -> Sequence[TokenStatus]:
        """Those in force, oldest first."""
        ...

    async def revoke(self, which: str) -> TokenStatus:
        """End the token of this name or id, for good when this returns.

        Raises:
            Refusal: `not-found`.
        """
        ...
