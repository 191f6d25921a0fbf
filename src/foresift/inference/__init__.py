"""The streaming pass over a pool: fetch, decode, transform, forward, store."""
