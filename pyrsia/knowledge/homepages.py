"""Whether a homepage is a page on the web: it stands in the log for ever, and people follow it."""

from urllib.parse import urlsplit


def strange_page(text: str) -> str:
    """Why `text` is no homepage; "" where it is one."""
    try:
        found = urlsplit(text)
        good = found.scheme in ("http", "https") and bool(found.hostname)
    except ValueError:  # a bracket that is left open
        good = False
    if not good or any(letter.isspace() for letter in text):
        return f"{text[:80]!r} is no page on the web"
    return ""
