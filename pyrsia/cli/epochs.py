"""Steps between epochs as a node tells them: for commands that need to know who validates now."""

from typing import TYPE_CHECKING

from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.units import MAX_STEP_BYTES
from pyrsia.verify.epochs import FOLDER, Line, Steps
from pyrsia.verify.evidence import refusing

if TYPE_CHECKING:
    from pyrsia.verify.pins import Pin


def told_by(node: Client) -> Steps:
    """The steps that a node has, none of them proven."""

    def step(epoch: int) -> bytes | None:
        try:
            return node.get_bytes(f"/log/{FOLDER}/{epoch}", most=MAX_STEP_BYTES.value)
        except Refusal as refusal:
            if refusal.code == "not-found":
                return None
            raise

    return step


def followed(pin: "Pin", steps: Steps) -> Line:
    """The epochs that are remembered of a network, and all further ones that `steps` proves.

    Raises:
        Refusal: `proof-invalid`.
    """
    line = pin.line(verify)
    with refusing():
        line.follow(steps)
    return line
