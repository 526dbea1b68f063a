"""Bitcoin: blocks and transactions, the sources they come from, and the charms in them."""
