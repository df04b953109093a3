"""What the log's entries mean: formats, the replicated state machine, draws and verdicts (DESIGN 4 and 8). Pure."""
