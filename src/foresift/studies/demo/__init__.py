"""The whole idea on handwritten digits, in about a minute."""
