"""Studies: protocols that compare strategies and models, and the pages that show what came out."""
