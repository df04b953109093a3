"""`pyrsia audit`: what is known about all that a project uses."""
