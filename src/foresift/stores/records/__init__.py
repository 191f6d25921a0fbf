"""What a workspace remembers beside files: in memory, in SQLite, in PostgreSQL."""
