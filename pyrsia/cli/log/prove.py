"""`log prove` and `log verify`: one leaf with its way to a cosigned head, and its check offline."""

import json
from pathlib import Path
from typing import Any

import click

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.tell import json_option, node_option, tell, trust_option
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.units import Limit

MAX_PROOF_BYTES = Limit(1 << 20, "an entry of 60,000 bytes, escaped twice, and a proof of 256 KiB")


@click.command()
@click.argument("index", type=click.IntRange(0))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the proof to this file.")
@node_option
@json_option
def prove(index: int, out: Path | None, target: str | None, as_json: bool) -> None:
    """The entry at INDEX with a proof that it is in the log; `log verify` checks it."""
    try:
        with Client(target) as node:
            answer = shaped(node.get("/api/v1/log/prove", index=index), answers.Proof)
    except Refusal as refusal:
        if refusal.code != "not-found":
            raise
        do = "see how long it is with `pyrsia log show`"
        raise Refusal(refusal.code, what=refusal.what, who="your command", do=do) from None
    if out is not None:
        out.write_text(json.dumps(answer, sort_keys=True) + "\n", encoding="utf-8")
    tell(answer, as_json=as_json, text=lambda: _proof_lines(answer, out))


def _proof_lines(answer: dict[str, Any], out: Path | None) -> list[str]:
    hashes = answer["hashes"]
    where = [f"written to {out}"] if out else []
    return [answer["entry"], f"leaf {answer['index']} of {answer['size']}, {len(hashes)} hashes", *where]


@click.command()
@click.argument("proof", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@trust_option
@json_option
def verify(proof: Path, trust: Path | None, as_json: bool) -> None:
    """Check a file written by `log prove --out` or `log submit --out`, offline, against a pinned network."""
    from pyrsia.keys import verify as verify_signature
    from pyrsia.verify.acknowledged import judge
    from pyrsia.verify.evidence import check_leaf
    from pyrsia.verify.pins import Pins, read_genesis

    pins = [read_genesis(trust)] if trust else Pins.of_user().all()
    try:
        with proof.open("rb") as opened:
            fields = json.loads(opened.read(MAX_PROOF_BYTES.value))
    except (ValueError, RecursionError):
        raise Refusal(
            "bad-request",
            what="the proof is not JSON",
            who=str(proof),
            do="write it with `pyrsia log prove --out`",
        ) from None
    if isinstance(fields, dict) and isinstance(fields.get("leaf"), str) and "acknowledgement" in fields:
        raw = fields["leaf"].encode("utf-8", "surrogatepass")
        held = judge(fields["acknowledgement"], raw, pins, verify_signature)
        tell(held.as_dict(), as_json=as_json, text=lambda: [held.line()])
        return
    found = check_leaf(fields, pins, verify=verify_signature)
    tell(
        found,
        as_json=as_json,
        text=lambda: [f"leaf {found['index']} is in {found['network']} at {found['size']}"],
    )
