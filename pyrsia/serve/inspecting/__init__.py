"""Records as people write and read them: conditions, names of ecosystems, CSV."""
