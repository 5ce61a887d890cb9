"""The page of models: what was found, how it was trained, and building caches."""
