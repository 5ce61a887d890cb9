"""The editor: a person types a text, and sees the activation of one neuron on every token."""
