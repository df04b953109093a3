"""Upstream, for ecosystems in the mode `proxy`: asked once for all who want the same, kept apart, never believed.

proxy         the face: who may ask for what             settings      what the operator configured, per ecosystem
pages         documents: fresh, old, stale               pip maven conan oci   addresses of one ecosystem each
files         downloads that many read at once           paths         one spelling of a path
downloading   how one file comes in                      links         which files a page of pip's names
asking        one question and its answer, bounded       folders       file: roots
turns         one question for all who ask the same      fresh         how long an answer is good
gate          who asks a server next                     circuits      servers that are left alone for a while
wanted counting digests   small data

Source: docs/upstream.md; DESIGN 9.
"""
