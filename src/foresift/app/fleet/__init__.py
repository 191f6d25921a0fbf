"""Devices that choose what they upload: the package, the device itself, what is collected, what would have been."""
