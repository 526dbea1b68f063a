"""How the API shows Charms on Bitcoin: every app, whatever it does."""
