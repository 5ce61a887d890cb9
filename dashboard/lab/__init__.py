"""The lab: tests a hypothesis of which tokens a neuron fires on, in both directions."""
