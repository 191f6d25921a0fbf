"""Browser pages over the same calls as the commands; everything they need comes with the package."""
