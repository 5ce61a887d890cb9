"""A neuron as files: everything as JSON, tables, a page to read, figures for a paper."""
