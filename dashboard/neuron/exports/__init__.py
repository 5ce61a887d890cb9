"""Downloads of a neuron: everything as JSON, tables, a page to read."""
