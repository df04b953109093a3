"""What the log's entries mean: formats, the replicated state machine, draws and verdicts (docs/ledger.md). Pure."""
