"""The pages: scripts that read an address, ask `services` and draw."""
