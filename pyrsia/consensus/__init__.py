"""Agreement on the next block: Simplex for one epoch. Pure: no clock, no socket, no disk, no randomness.

`core.Simplex` votes, `follower.Follower` only watches, `catchup` serves and checks final blocks; what they
agree about stands behind `application.Application`. Specification: docs/agreement.md.
"""
