"""Agreement's shell: the core fed and obeyed, what the vote keys signed, evidence on its way to the log."""
