"""Code that several pages use: addresses and places, annotations, components, the running model."""
