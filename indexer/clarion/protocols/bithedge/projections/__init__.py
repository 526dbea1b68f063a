"""What each event does to the rows: one module per contract. Importing this registers all of them."""
