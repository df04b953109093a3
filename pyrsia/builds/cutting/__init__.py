"""Where files of packages can be cut into pieces that other versions share (docs/delta.md): read in the sandbox."""
