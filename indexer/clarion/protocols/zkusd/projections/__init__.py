"""What the transactions of a set's apps do to its rows: one module for each kind of thing."""
