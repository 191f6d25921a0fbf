"""Generations and their lines: who comes from whom, what they cost, which of them should choose, which is promoted."""
