"""The server: one application layer, HTTP over it."""
