"""Components of the neuron page, drawn in the browser."""
