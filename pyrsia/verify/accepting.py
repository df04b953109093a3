"""Whether a user's own policy accepts what was proven: the engine that nodes use, over a `Finding`.

The user's rules stand in policy.toml of their configuration folder; without it the defaults hold. Where the proof was
just made by a node, its checkpoint is the newest head, and must be as young as `max_head_age_s` says; of a proof that
lay beside the file only `max_proof_age_days` is asked. Where a rule asks what facts say, these come from proven
histories (`knowing`), whose age counts as the proof's does.
"""

from pathlib import Path

import platformdirs

from pyrsia.errors import Refusal
from pyrsia.knowledge.known import Known
from pyrsia.policy import rules
from pyrsia.policy.evaluate import decide, refusal
from pyrsia.policy.facts import NETWORK, Facts
from pyrsia.policy.rules import Policy
from pyrsia.verify.finding import Finding
from pyrsia.verify.knowing import Learn, missing

WHO = "your policy"
_AGES = {"max_head_age_s", "max_proof_age_days"}
_KNOWING = {"max_severity", "licences_allow", "licences_deny", "sbom"}


def user_policy() -> Path:
    """Where this user's policy stands, whether or not it is there."""
    return Path(platformdirs.user_config_dir("pyrsia", appauthor=False)) / "policy.toml"


def of_user() -> Policy:
    """The user's rules, the defaults where there is no file.

    Raises:
        Refusal: `config-invalid`.
    """
    path = user_policy()
    try:
        path.stat()
    except FileNotFoundError:
        # A link that leads nowhere was meant to lead to rules, and is no permission.
        if not any(one.is_symlink() and not one.exists() for one in (path, path.parent)):
            return rules.parse(b"", str(path))
    except OSError:
        pass  # `of_file` says what is the matter
    return of_file(path)


def of_file(path: Path) -> Policy:
    """
    Raises:
        Refusal: `config-invalid`, naming file and key.
    """
    try:
        with path.open("rb") as opened:
            return rules.parse(opened.read(rules.MAX_POLICY_BYTES.value + 1), str(path))
    except OSError as error:
        raise Refusal(
            "config-invalid",
            what=f"the policy cannot be read: {error.strerror}",
            who=str(path),
            do="name a file that you may read",
        ) from None


def facts_of(finding: Finding, known: Known | None = None) -> Facts:
    """What was proven, as the rules ask for it; whose provenance is not sound is not among those that agree."""
    return Facts(
        purl=finding.purl,
        origin=NETWORK,
        file=finding.file,
        sha256=finding.sha256,
        status=finding.status,
        agreeing=finding.agreeing,
        containment=finding.containment,
        upstream=finding.upstream,
        published_ms=finding.published_ms,
        known=known,
        verdict=finding.verdict,
    )


def require(
    policy: Policy,
    finding: Finding,
    *,
    now_ms: int,
    current: bool,
    network: str = "",
    learn: Learn | None = None,
) -> None:
    """Nothing, for what the policy accepts.

    Args:
        network: digest of the genesis of the network that proved it.
        learn: says what is known of it, where a rule asks; None: nobody does, and such a rule refuses.
        current: the proof was made just now, so that its checkpoint is the log's newest head.

    Raises:
        Refusal: `denied`, or `too-old` where only the age of proof or head is against it; `no-proof` where what is
            known of it ends before it was published.
    """
    learned = None
    if learn is not None and policy.at(finding.purl).asks_knowledge:
        learned = learn(network, finding.purl, finding.sha256)
        if learned is not None and learned.before <= finding.index:
            raise _too_early(finding, learned.before)
    facts = facts_of(finding, None if learned is None else learned.known)
    proven_s = finding.checkpoint_s if learned is None else min(finding.checkpoint_s, learned.checkpoint_s)
    age_ms = max(0, now_ms - proven_s * 1_000)
    said = decide(policy, facts, now_ms, age_ms if current else 0, age_ms)
    if said.allowed:
        return
    told = refusal(facts, said, who=WHO)
    against = {one.rule for one in said.reasons if not one.allows}
    code, do = "too-old" if against <= _AGES else told.code, told.do
    if facts.known is None and against & _KNOWING:
        do = missing(finding.purl, finding.sha256)
        code = "no-proof" if against <= _KNOWING else code
    raise Refusal(code, what=told.what, who=told.who, do=do)


def _too_early(finding: Finding, before: int) -> Refusal:
    """Of histories in which the file does not even occur: they hide whatever was said of its version since."""
    return Refusal(
        "no-proof",
        what=f"what is told of it ends at leaf {before}, and it was published in leaf {finding.index}",
        who="the history of the package, or of the file",
        do=missing(finding.purl, finding.sha256),
    )
