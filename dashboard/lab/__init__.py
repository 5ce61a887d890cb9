"""The lab: tests a hypothesis against what a neuron does."""
