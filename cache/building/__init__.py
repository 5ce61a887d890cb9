"""From a model and a text to a cache, on one machine or on a cluster."""
