"""Write caches: from a state, with whole contexts added, or as a smaller copy of another cache."""
