"""SARIF 2.1.0 held against what its schema asks of each object that audits write, and what code scanning asks besides.

Every object is closed: a property that the schema does not have, or that nobody here checks, is a fault. Source: OASIS
SARIF 2.1.0, sections 3.13 to 3.59 and the schema of its appendix; GitHub, "SARIF support for code scanning".
"""

import re
from unicodedata import category

LEVELS = ("none", "note", "warning", "error")
HIDDEN = ("Cc", "Cs", "Zl", "Zp")
MAX_RULE_ID = 255  # characters that GitHub takes
URI = re.compile(r"(?:file://)?/?(?:[A-Za-z0-9._~!$&'()*+,;=@/-]|%[0-9A-F]{2})+")
PRINT = re.compile(r"[0-9a-f]+(?::[0-9]+)?")


def one_of(*words):
    return lambda value: value in words


def whole(least):
    return lambda value: type(value) is int and value >= least


def text(value):
    """Something, and nothing in it that moves output or is no text."""
    return isinstance(value, str) and value != "" and not any(category(one) in HIDDEN for one in value)


def flag(value):
    return type(value) is bool


def uri(value):
    """A relative reference, or a file: GitHub takes no other scheme. No colon, which might end a scheme."""
    return isinstance(value, str) and URI.fullmatch(value) is not None


def bag(value):
    return isinstance(value, dict) and len(set(value.get("tags", ()))) == len(value.get("tags", ()))


def prints(value):
    return isinstance(value, dict) and value and all(PRINT.fullmatch(one) for one in value.values())


def many(of):
    return lambda value: isinstance(value, list) and all(of(one) for one in value)


def few(of):
    """At least one, and none twice."""
    return lambda value: many(of)(value) and value and all(value.count(one) == 1 for one in value)


def closed(name, required, /, **properties):
    """An object with these properties and no others; `required`: words, of which `a|b` means one of the two."""

    def check(value):
        assert isinstance(value, dict), f"{name}: {value!r} is no object"
        strange = value.keys() - properties.keys()
        assert not strange, f"{name} has no {sorted(strange)}"
        for one in required.split():
            assert value.keys() & set(one.split("|")), f"{name} lacks {one}"
        for key, each in value.items():
            assert properties[key](each), f"{name}.{key} is {each!r}"
        return True

    return check


message = closed("message", "text", text=text)
logical = closed("logicalLocation", "name|fullyQualifiedName", name=text, fullyQualifiedName=text, kind=text)
region = closed("region", "startLine", startLine=whole(1))
artifact = closed("artifactLocation", "uri", uri=uri)
physical = closed("physicalLocation", "artifactLocation", artifactLocation=artifact, region=region)
location = closed("location", "physicalLocation", physicalLocation=physical, logicalLocations=few(logical))
suppression = closed(
    "suppression",
    "kind",
    kind=one_of("inSource", "external"),
    status=one_of("accepted", "underReview", "rejected"),
    justification=text,
)
result = closed(
    "result",
    "message ruleId ruleIndex level locations partialFingerprints",
    message=message,
    ruleId=text,
    ruleIndex=whole(0),
    level=one_of(*LEVELS),
    locations=few(location),
    partialFingerprints=prints,
    suppressions=few(suppression),
    properties=bag,
)
configuration = closed("reportingConfiguration", "level", level=one_of(*LEVELS))
rule = closed(
    "reportingDescriptor",
    "id shortDescription fullDescription help defaultConfiguration",
    id=lambda value: text(value) and len(value) <= MAX_RULE_ID,
    shortDescription=message,
    fullDescription=message,
    help=message,
    defaultConfiguration=configuration,
    properties=lambda value: bag(value) and 0 <= float(value["security-severity"]) <= 10,
)
driver = closed("toolComponent", "name", name=text, version=text, semanticVersion=text, rules=many(rule))
notification = closed("notification", "message", message=message, level=one_of(*LEVELS))
invocation = closed(
    "invocation",
    "executionSuccessful",
    executionSuccessful=flag,
    exitCode=whole(0),
    toolExecutionNotifications=many(notification),
)
run = closed(
    "run",
    "tool results",
    tool=closed("tool", "driver", driver=driver),
    columnKind=one_of("utf16CodeUnits", "unicodeCodePoints"),
    invocations=few(invocation),
    results=many(result),
    properties=bag,
)
log = closed(
    "sarifLog",
    "version runs",
    **{"$schema": text, "version": one_of("2.1.0"), "runs": few(run)},
)


def check(document):
    """The schema's rules, then those between objects: each result means the rule that it names, and no two results
    are one to a reader that matches them by rule, path and fingerprint."""
    log(document)
    for each in document["runs"]:
        rules = each["tool"]["driver"]["rules"]
        ids = [one["id"] for one in rules]
        assert len(ids) == len(set(ids))
        seen = set()
        for one in each["results"]:
            assert ids[one["ruleIndex"]] == one["ruleId"]
            path = one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
            key = one["ruleId"], path, one["partialFingerprints"]["primaryLocationLineHash"]
            assert key not in seen
            seen.add(key)
