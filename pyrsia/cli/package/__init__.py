"""`pyrsia package`: what a provider of a package sees and does."""
