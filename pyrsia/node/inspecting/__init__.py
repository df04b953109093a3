"""Questions to the log record by record, now and as it was."""
