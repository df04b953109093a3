"""What is known about all that a project uses: out of its files into questions, out of answers into reports.

Nothing here runs, installs or unpacks what it reads.

components.py   what was found, each once with all its places; what is not asked about, with the reason
kinds.py        which reader a file needs, by its content
lists.py        requirements, locks, project files
environment.py  what is installed in a Python environment
images.py       an image by its name at a node
asking.py       the node's answers, in pages that are merged
findings.py     advisories of one weakness as one, what counts, how it ends
as_json.py      the report for scripts
sarif.py        the report as SARIF 2.1.0

Source: docs/knowledge.md, "Auditing a project".
"""
