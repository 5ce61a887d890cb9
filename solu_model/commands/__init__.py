"""Commands of this package: `solu evaluate`, `solu multiplier`, `solu info`, `solu convert`.

Each module holds one command as a plain function with typer annotations; `dashboard.cli` registers them.
Torch is imported inside the functions, so that `solu --help` is fast.
"""
