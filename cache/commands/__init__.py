"""`solu cache ...`: the commands that build, change and inspect caches.

Modules that need torch or pyarrow are imported inside the commands, so that `--help` is fast.
"""

import typer

from cache.commands.build import build, merge
from cache.commands.change import contexts, trim
from cache.commands.inspect import info, sources, verify

app = typer.Typer(no_args_is_help=True, help="Build and inspect neuron caches.")
for command in (build, merge, contexts, trim, verify, info, sources):
    app.command()(command)
