"""The public log: RFC 6962 tree, tiles, signed notes, checkpoints, proofs. Pure: no I/O, no clock, no keys.

tree        appending, roots, inclusion and consistency proofs, their verification
tiles       C2SP tlog-tiles: paths, widths, entry bundles, nodes read from tiles
note        C2SP signed notes and verifier keys
checkpoint  the three lines, log signatures and cosignatures, the quorum
prooffile   C2SP tlog-proof, the file beside an artifact
cosigner    which checkpoint this validator signs, and which one a quorum has signed
"""
