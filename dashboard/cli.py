"""The `solu` command: every package's commands under one name."""

import io
import os
import signal
import subprocess
import sys
import time
import urllib.request
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cache.commands import app as cache_app
from dashboard.shared.annotations.content import VARIABLE as ANNOTATIONS_VARIABLE
from dashboard.shared.settings import BUILDS_VARIABLE
from dashboard.studies.cli import app as study_app
from solu_model.commands.convert import convert
from solu_model.commands.data import data
from solu_model.commands.evaluate import evaluate
from solu_model.commands.info import info
from solu_model.commands.multiplier import multiplier
from solu_model.commands.train import train
from solu_model.files import is_disk_error

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="SoLU Explorer: train, cache and browse neurons."
)
app.command()(train)
app.command()(data)
app.command()(evaluate)
app.command()(info)
app.command()(multiplier)
app.command()(convert)
app.add_typer(cache_app, name="cache")
app.add_typer(study_app, name="study")


@app.command()
def dashboard(
    models: Annotated[
        list[Path] | None,
        typer.Option("--models", help="Folder with models, in addition to the bundled ones. Repeatable."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 8501,
    address: Annotated[
        str, typer.Option(help="Address to serve on; 0.0.0.0 lets other machines connect.")
    ] = "localhost",
    annotations: Annotated[
        str | None,
        typer.Option(
            help="URL of the database of labels and studies. Default: a file in ~/.local/share/solu-explorer."
        ),
    ] = None,
    builds: Annotated[
        bool | None,
        typer.Option(
            help="Let the Models page build caches from text on this machine. "
            "By default only if no other machine can reach ADDRESS."
        ),
    ] = None,
    headless: Annotated[bool, typer.Option(help="Do not open a browser.")] = False,
) -> None:
    """Open the dashboard in the browser."""
    entry = Path(__file__).with_name("app.py")
    environment = dict(os.environ)
    if models:
        named = [str(path.resolve()) for path in models] + [environment.get("SOLU_MODELS", "")]
        environment["SOLU_MODELS"] = os.pathsep.join(filter(None, named))
    if annotations:
        environment[ANNOTATIONS_VARIABLE] = annotations
    if builds is not None:
        environment[BUILDS_VARIABLE] = "1" if builds else "0"
    # Headless: otherwise Streamlit asks for an e-mail address and shows an advertisement over the page.
    command = [sys.executable, "-m", "streamlit", "run", str(entry), "--server.headless", "true"]
    command += ["--server.port", str(port), "--server.address", address]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the server ends with this process
    server = subprocess.Popen(command, env=environment)  # noqa: S603
    try:
        if not headless and _wait_until_healthy(server, port):
            webbrowser.open(f"http://localhost:{port}")
        raise typer.Exit(server.wait())
    except KeyboardInterrupt:
        server.wait()
        raise typer.Exit(0) from None
    finally:
        server.terminate()


def _wait_until_healthy(server: "subprocess.Popen[bytes]", port: int) -> bool:
    """Wait at most a minute; return True once the server answers, False if it ends before."""
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=2):
                return True
        except OSError:
            time.sleep(0.1)
    return False


def main() -> None:
    """Run a command. Errors of this package, whose messages say what to do, are shown without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may hold bytes that are not UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("solu_model", "cache", "analysis", "dashboard"):
            message = str(error)
        elif is_disk_error(error):
            message = f"a file cannot be written ({str(error)[:200]}): free some space, or give another place"
        else:
            raise
        Console(stderr=True, soft_wrap=True).print(message, style="red", markup=False, highlight=False)
        sys.exit(1)
