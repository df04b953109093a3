"""Builds: from a source that the log can name to files that several builders agree on.

    sandbox    runs a stranger's program with limits, without network, and leaves nothing behind
    pip        the pip plug-in: index, lock, build, normalise

What a build means for the log (draw, commit, reveal, verdict) is `pyrsia.ledger`'s business.
"""
