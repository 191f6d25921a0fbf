"""What server and client agree on: the configuration file and the messages. No torch."""
