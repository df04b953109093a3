"""What this node accepts: its policy file kept up to date, and the answers by it."""
