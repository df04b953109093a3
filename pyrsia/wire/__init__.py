"""Bytes to frozen messages and back, with strict decoders. Pure; rules: docs/ledger.md, docs/agreement.md."""
