"""Where data comes from: each source streams what it finds, in an order that is always the same."""
