"""The study of ensembles: parts of a labeled set found by many checkpoints."""
