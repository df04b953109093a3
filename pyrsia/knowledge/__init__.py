"""What the log's facts say of a package: which stand at a moment, which versions an advisory means, what it is worth.

Pure, and local: nothing here decides what all nodes must agree on. Versions, severities and licences are compared by
the libraries of their ecosystems, which may change their minds; so two nodes with the same libraries, policy and log
say the same, and the log itself asks none of them.

said.py         a fact as its reader meets it
standing.py     which facts stand at a moment: not taken back, not replaced, not yet to come
readers.py      versions as their ecosystems' libraries read them
versions.py     which versions a fact means: ranges, names, and what cannot be compared
severities.py   a word for a CVSS vector, and which word is worse
advisories.py   what stands against one version, and what VEX says of it
licences.py     SPDX expressions: what may be chosen
known.py        all of that about one version: what a policy decides by, and what people are shown
about.py        makes it: the one door of this package
calling.py      who is called about which facts, in which order, and when again (webhooks)
history.py      when each weakness was first told, and what was said of it since

Source: docs/knowledge.md.
"""
