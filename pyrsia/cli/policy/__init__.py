"""`pyrsia policy`: what this node or this user accepts, and why."""
