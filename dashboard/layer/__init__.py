"""Page of a layer: distributions of its neurons, and all layers side by side."""
