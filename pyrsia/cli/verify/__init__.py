"""`pyrsia verify`: files and installations checked by the log."""
