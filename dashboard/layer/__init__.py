"""The page of a layer: how its neurons are distributed, and all layers side by side."""
