"""`pyrsia export`: files by which stock clients enforce what the log says."""
