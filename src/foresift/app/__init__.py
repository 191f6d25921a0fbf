"""Where adapters meet logic: what the command line, the service and Python call."""
