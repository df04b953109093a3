"""Pages for people at `/`: search, package, entry, build, node; no scripts, and nothing from elsewhere."""
