"""The page of one neuron: its examples, histograms, panels and downloads."""
