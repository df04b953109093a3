"""`pyrsia facts`: what is known of packages, said, imported and read."""
