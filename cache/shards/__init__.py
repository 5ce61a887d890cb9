"""Parts of a corpus and the statistics of each: states that can be merged, saved and resumed from."""
