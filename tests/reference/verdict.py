"""The verdict of docs/ledger.md by trying every set of builders: slow, and obviously right."""

from itertools import combinations

ORDER = ["confined", "namespace"]
CONTAINMENT = ["none", "partial", "full"]


def sound(reveal, rules):
    """Whether this reveal may count towards a file, or towards a failure other than the lock's."""
    return (
        reveal["phase"] != "lock-mismatch"
        and reveal["lock_sha256"] == rules.lock_sha256
        and reveal["environment"] == rules.environment
        and ORDER.index(reveal["isolation"]) >= ORDER.index(rules.min_isolation)
        and (reveal["outcome"] == "failed" or reveal["source"] in rules.sources)
    )


def same(reveals, parts):
    """Whether all name the same outputs, and each of `parts` is equal in each output."""
    said = [{out["name"]: [out[part] for part in parts] for out in reveal["outputs"]} for reveal in reveals]
    return all(one == said[0] for one in said)


def sets(builders, rules):
    """Every set that is large enough and spans two operators, large ones first."""
    for size in range(len(builders), rules.agreeing - 1, -1):
        for chosen in combinations(builders, size):
            if len({rules.operator_of[node] for node in chosen}) >= 2:
                yield chosen


def decide(builders, reveals, rules):
    """(verdict, agreeing, silent) of one request."""
    here = [node for node in builders if node in reveals]
    silent = tuple(node for node in builders if node not in reveals)
    good = [node for node in here if sound(reveals[node], rules)]
    built = [node for node in good if reveals[node]["outcome"] == "built"]
    built_words = [("REPRODUCED", ["raw", "canonical", "stable"]), ("EQUIVALENT", ["canonical", "stable"])]
    for verdict, parts in [("WITNESSED", ["raw"])] if rules.witness else built_words:
        for chosen in sets(built, rules):
            if same([reveals[node] for node in chosen], parts):
                return verdict, chosen, silent
    failed = [
        node
        for node in here
        if reveals[node]["outcome"] == "failed"
        and (reveals[node]["phase"] == "lock-mismatch" or node in good)
    ]
    for chosen in sets(failed, rules):
        if len({reveals[node]["phase"] for node in chosen}) == 1:
            return "FAILED", chosen, silent
    enough = any(True for _ in sets(good, rules))
    return ("DIVERGED" if enough else "INSUFFICIENT"), (), silent


def served(verdict, winners, rules):
    """(file, which, sha256, verdict of the bytes, relation, containment) of each output, by name."""
    names = sorted(out["name"] for out in winners[0]["outputs"])
    return [(name, *served_as(name, verdict, winners, rules)) for name in names]


def served_as(name, verdict, winners, rules):
    outs = [next(out for out in reveal["outputs"] if out["name"] == name) for reveal in winners]
    if verdict == "WITNESSED":
        return "upstream", outs[0]["raw"]["sha256"], "WITNESSED", "identical", "none"
    which = "raw" if verdict == "REPRODUCED" else "canonical"
    sha256, told = outs[0][which]["sha256"], verdict
    different = [out for out in outs if out["upstream_relation"] == "different"]
    relation = "different" if len(different) >= rules.agreeing else "none"
    for out in outs:
        backers = [
            other
            for other in outs
            if other["upstream_relation"] in ("identical", "equivalent")
            and out["upstream_relation"] in ("identical", "equivalent")
            and other["upstream"] == out["upstream"]
        ]
        if len(backers) >= rules.agreeing:
            which, sha256 = "upstream", out["upstream"]["sha256"]
            as_raw = [other for other in backers if other["raw"]["sha256"] == sha256]
            told, relation = (
                ("REPRODUCED", "identical") if len(as_raw) >= rules.agreeing else ("EQUIVALENT", "equivalent")
            )
            break
    least = min((out["containment"] for out in outs), key=CONTAINMENT.index)
    return which, sha256, told, relation, least


def source(winners):
    """The weakest way in which one of the winners got the source."""
    ways = {reveal["source"] for reveal in winners}
    return next(way for way in ("claimed", "registry", "mapping") if way in ways)
