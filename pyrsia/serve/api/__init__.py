"""The JSON API: one table a subject, put together in `app`."""
