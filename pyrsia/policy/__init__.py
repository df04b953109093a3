"""What a node or a user accepts of what the log says: rules, and their evaluation. Pure; there is no second engine."""
