"""Whether a cache or a set of shards is whole, says one thing everywhere, and whose it is."""
