"""Check that a cache or set of shards is complete, consistent, and matches its model and corpus."""
