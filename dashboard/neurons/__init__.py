"""The list of neurons: search, filter and sort the neurons of a layer or of all layers."""
