"""Documents of others about packages, read as facts or as lists of components. Nothing here asks a node.

Every reader takes any bytes: what it cannot read it refuses with a sentence, and what a part of it cannot be read it
leaves out with a sentence, so that one bad record never costs the others. A bound stands before each parser.

reading.py    a file's bytes within a bound, JSON as typed data, a refusal that names the file
purls.py      the one spelling of a purl that others write in many
component.py  one component, as audits and facts see it
cyclonedx.py  CycloneDX: its components
bomxml.py     the same in XML
lines.py      where a document in JSON names a purl
spdx.py       SPDX JSON, 2.2, 2.3 and 3.0: its packages
sboms.py      which of the two a file is
vulnerabilities.py  CycloneDX: its VEX
openvex.py    OpenVEX statements
osv.py        one OSV record as advisories
ranges.py     events of OSV as stretches of versions
listed.py     versions that OSV lists beside ranges, and that lie in none
finding.py    the records of files, folders and ZIP exports
intake.py     many records as orders to a node
outcome.py    what became of each record

Source: docs/knowledge.md, "Importing".
"""
