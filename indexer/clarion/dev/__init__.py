"""`clarion dev`: a local chain, everything that reads it, and a seeded cast of users that keeps it busy."""
