"""Atomic writes, checksums, disk-full errors, remote stores, places that may be written to."""
