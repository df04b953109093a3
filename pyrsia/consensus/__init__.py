"""Agreement on the next block: Simplex, from epoch to epoch. Pure: no clock, no socket, no disk, no randomness.

`epochs.Epochs` is one node's part in it and what a shell runs: a `core.Simplex` that votes or a `follower.Follower`
that watches, and `sync`, which brings final blocks by height. What they agree about stands behind
`application.Application`. `light` is for clients without a log. Specification: docs/agreement.md.
"""
