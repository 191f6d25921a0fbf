"""Training for classes: what is asked for, where it starts from, how good the result is."""
