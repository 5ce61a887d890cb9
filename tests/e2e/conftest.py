"""A real server over the tiny model, and a real Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

import dashboard

expect.set_options(timeout=60_000)  # a busy machine is no failure
ROOT = Path(dashboard.__file__).parent.parent
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def shown_models(tiny_model: Path) -> Path:
    """What the dashboard is told to show; a module may say something else."""
    return tiny_model


@contextmanager
def _serving(models: Path, folder: Path, port: int) -> Iterator[str]:
    """The address of a dashboard that runs meanwhile, started in a folder that is not the repository."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "app.py")]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true"]
    environment = os.environ | {"SOLU_MODELS": str(models), "PYTHONPATH": str(ROOT)}
    with open(log, "w") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        _wait_until_healthy(port, process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(shown_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running dashboard."""
    with _serving(shown_models, tmp_path_factory.mktemp("elsewhere"), _free_port()) as address:
        yield address


@pytest.fixture
def served(shown_models: Path, tmp_path: Path) -> Callable[[], AbstractContextManager[str]]:
    """Runs a dashboard as often as a test wants, each time at the same address."""
    port = _free_port()
    return lambda: _serving(shown_models, tmp_path, port)


def _wait_until_healthy(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the server did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; without one the test skips, or fails where CI=true."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "no Chromium here: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=ARGS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page that fails the test where a script raises, a dialog opens or another server is asked."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(60_000)
    surprises: list[str] = []
    page.on("pageerror", lambda error: surprises.append(str(error)))
    page.on("dialog", lambda dialog: (surprises.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: None if _is_ours(asked.url) else surprises.append(asked.url))
    yield page
    context.close()
    assert not surprises


@pytest.fixture(params=["light", pytest.param("dark", marks=pytest.mark.slow)])
def accessible(page: Page, request: pytest.FixtureRequest) -> Callable[[], None]:
    """Fails where axe finds something serious on the page as it stands: some 4 seconds each time.

    In the light, and where slow tests run in the dark; a test may ask for `both`.
    """
    schemes = ("dark", "light") if request.param == "both" else (request.param,)

    def check() -> None:
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(
                "scheme => getComputedStyle(document.querySelector('.stApp')).colorScheme === scheme",
                arg=scheme,
            )
            page.wait_for_timeout(800)  # figures and components follow
            violations = Axe().run(page).response["violations"]
            grave = [v for v in violations if v["impact"] in ("serious", "critical")]
            assert not grave, [(scheme, v["id"], [n["html"][:200] for n in v["nodes"][:5]]) for v in grave]

    return check


def _is_ours(url: str) -> bool:
    return url.startswith(("data:", "blob:")) or urlsplit(url).hostname == "127.0.0.1"
