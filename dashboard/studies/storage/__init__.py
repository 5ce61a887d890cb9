"""Studies in a database and as files."""
