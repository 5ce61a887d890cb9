"""Atomic writes, checksums, disk-full errors, remote stores."""
