"""The `solu` command: every package's commands under one name."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cache.cli import app as cache_app
from solu_model.cli import evaluate, info, train
from solu_model.cli_convert import convert

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="SoLU Explorer: train, cache and browse neurons."
)
app.command()(train)
app.command()(evaluate)
app.command()(info)
app.command()(convert)
app.add_typer(cache_app, name="cache")


@app.command()
def dashboard(
    models: Annotated[
        list[Path] | None, typer.Option("--models", help="Folders with models, beside ./models. Repeatable.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 8501,
    address: Annotated[
        str, typer.Option(help="Address to serve on; 0.0.0.0 lets other machines in.")
    ] = "localhost",
    headless: Annotated[bool, typer.Option(help="Do not open a browser.")] = False,
) -> None:
    """Open the dashboard in the browser."""
    entry = Path(__file__).with_name("app.py")
    environment = dict(os.environ)
    if models:
        named = [str(path.resolve()) for path in models] + [environment.get("SOLU_MODELS", "")]
        environment["SOLU_MODELS"] = os.pathsep.join(filter(None, named))
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(entry),
        "--server.port",
        str(port),
        "--server.address",
        address,
    ]
    command += ["--server.headless", str(headless).lower(), "--server.showEmailPrompt", "false"]
    raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)  # noqa: S603


def main() -> None:
    """Run a command; an error that names its own remedy is shown without a traceback."""
    try:
        app()
    except (ValueError, RuntimeError) as error:
        if type(error).__module__.partition(".")[0] not in ("solu_model", "cache", "dashboard"):
            raise
        Console(stderr=True, soft_wrap=True).print(str(error), style="red", markup=False, highlight=False)
        sys.exit(1)
