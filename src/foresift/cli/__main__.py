"""``python -m foresift.cli``."""

from foresift.cli.main import main

main()
