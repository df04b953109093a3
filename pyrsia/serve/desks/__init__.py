"""What the applications ask of the node: Protocols and their frozen answers. No decisions."""
