"""BitHedge in the API: ``api`` says what its tables show, the other modules add fields beside them."""
