"""Assets: one module per layer or subject, each asset short: read, call mining, return."""
