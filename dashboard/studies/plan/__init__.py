"""The design of a study: its sampling, cards and sealed key."""
