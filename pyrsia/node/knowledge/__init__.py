"""What this node knows of packages, out of its log, and how it is asked and told.

reading.py             facts of one package or file, read from its history as it grows, and kept
telling.py             facts by page and as they come, each with what became of it
saying.py              facts that this node says, each once: what an order of them comes to
words.py, underway.py  what it has said, and what of that is on its way; speakers.py: who may say what
documents.py           what facts name: SBOMs
auditing.py            what is known of many versions at a moment
webhooks.py            servers that are told of facts; webhook_settings.py: which
desk.py                all of it behind one face
"""
