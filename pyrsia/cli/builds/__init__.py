"""`pyrsia build`: ask for a build, follow it, install what came of it."""
