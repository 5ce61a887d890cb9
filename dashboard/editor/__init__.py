"""A text under a person's hands: as one neuron reads it, for the page and for the browser that types."""
