"""Who belongs to the network and what changes it: motions, keys that rotate, founding, guests."""
