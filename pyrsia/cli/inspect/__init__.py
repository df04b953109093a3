"""`pyrsia inspect-log`: the log record by record."""
