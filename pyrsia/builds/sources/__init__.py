"""Where the source of a build comes from when it is no registry's file.

git         a repository that a mapping names: tag -> commit -> one archive, fetched in the sandbox
git_tree    git's own digests of files, trees and commits, made again without git
local       what somebody gives along: a folder, an archive, `git+URL@COMMIT`
packing     the one form of an archive that is packed here, and the digest of the tree in it
worker      what runs inside the sandbox for the two above
buildspec   Reproducible Central's `.buildspec` and the original's mappings, read as data
"""
