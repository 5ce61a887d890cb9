"""Part of a model's card that builds its cache: form, progress, and what to do after a failure."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from analysis.formatting import number
from dashboard.models import build_jobs
from dashboard.models.build_jobs import Build, BuildError
from dashboard.shared.catalog import ModelFolder
from dashboard.shared.error_message import show_error
from dashboard.shared.messages import plain
from dashboard.shared.settings import BUILDS_VARIABLE, builds_allowed

_REFRESH = 1.0  # seconds


def build_section(model: ModelFolder, needs_cache: bool, is_complete: bool) -> None:
    """Draw the form, the progress or the outcome of a build, whichever applies.

    Args:
        model: whose cache it is.
        needs_cache: the model has no cache, or one that cannot be shown.
        is_complete: the checkpoint has all its files; otherwise nothing can be built.
    """
    build = build_jobs.last_build(model.path)
    key = f"build_{model.name}"
    if problem := st.session_state.pop(f"{key}_problem", ""):
        show_error("The build could not be changed", problem)
    if build and build.state in ("running", "stopping"):
        _draw_running(model, key)
    elif build and build.request and build.state != "done":
        _draw_unfinished(model, build, key)
    elif needs_cache and not is_complete:
        st.caption("A neuron cache can be built once the checkpoint is complete.")
    elif needs_cache:
        if not model.has_cache:
            st.markdown("**No neuron cache yet.** It can be built from any text.")
        is_allowed = builds_allowed(st.get_option("server.address"))
        if is_allowed:
            _draw_form(model, key)
        with st.expander("In a terminal", key=f"{key}_terminal", expanded=not is_allowed):
            st.code(model.build_command, language="shell", wrap_lines=True)
            if not is_allowed:
                st.caption(
                    "Building from this page is turned off, because other machines can reach this server. "
                    f"To turn it on, start the dashboard with `solu dashboard --builds` or "
                    f"`{BUILDS_VARIABLE}=1`."
                )


def _draw_form(model: ModelFolder, key: str) -> None:
    with st.form(key, border=False):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            text = st.text_input(
                "Text: a file or folder on this server", placeholder="/data/text",
                help="Parquet or JSON lines with a column named text, or plain text. It is only read. "
                "Parts of it are shown as examples.",
            )  # fmt: skip
            percent = st.number_input("Documents read, %", 0.01, 100.0, 100.0, width=140)
        submitted = st.form_submit_button("Build the cache", icon=":material/build:")
    if submitted:
        try:
            _start(model, build_jobs.check_text_path(text), percent / 100)
        except BuildError as error:
            show_error("Not started", error)
        else:
            st.rerun()


@st.fragment(run_every=_REFRESH)
def _draw_running(model: ModelFolder, key: str) -> None:
    """Draw the progress of a build; redraw the whole page when it ends."""
    build = build_jobs.last_build(model.path)
    if build is None or build.state not in ("running", "stopping"):
        st.rerun()
    if build.request:
        st.markdown(f"Building the cache from {plain(build.request.data)}{_sample(build)}")
    done, text = _progress(build)
    st.progress(done, plain(text))
    stopping = build.state == "stopping"
    if st.button(
        "Stopping…" if stopping else "Stop", key=f"{key}_stop", icon=":material/stop:", disabled=stopping,
        help="Progress is saved; the build can be resumed.",
    ):  # fmt: skip
        _try(key, lambda: build_jobs.stop_build(model.path))
        st.rerun()
    st.caption("The build continues when this page is closed.")


def _draw_unfinished(model: ModelFolder, build: Build, key: str) -> None:
    """Draw the reason why a build made no cache, with buttons to resume or discard it."""
    request = build.request
    assert request is not None
    read = f" after {build.progress.n_tokens:,} tokens" if build.progress else ""
    if build.state == "stopped":
        st.info(plain(f"The build from {request.data} was stopped{read}."), icon=":material/stop_circle:")
    else:
        show_error(
            f"The build from {request.data} failed{read}",
            build.output or "The process was killed and left no message.",
        )

    def resume() -> None:
        _try(key, lambda: _start(model, request.data, request.sample))

    with st.container(horizontal=True, gap="small"):
        st.button(
            "Resume" if build.can_resume else "Start again", key=f"{key}_again", icon=":material/play_arrow:",
            on_click=resume, disabled=not builds_allowed(st.get_option("server.address")),
        )  # fmt: skip
        st.button(
            "Discard", key=f"{key}_discard", icon=":material/delete:",
            on_click=lambda: _try(key, lambda: build_jobs.discard_build(model.path)),
            help="Delete this build and its saved progress.",
        )  # fmt: skip


def _start(model: ModelFolder, data: Path, sample: float) -> None:
    if not builds_allowed(st.get_option("server.address")):
        raise BuildError("building from this page is turned off: use `solu cache build` in a terminal")
    build_jobs.start_build(model.path, data, sample)


def _try(key: str, act: Callable[[], None]) -> None:
    """Call `act` and keep an error for the next run, since callbacks cannot draw."""
    try:
        act()
    except BuildError as error:
        st.session_state[f"{key}_problem"] = str(error)


def _progress(build: Build) -> tuple[float, str]:
    """Return the share done, 0 to 1, and a line with tokens, speed, time left and memory."""
    p = build.progress
    if p is None:
        return 0.0, "Loading the model…"
    if p.stage == "writing":
        return 1.0, f"Writing the cache of {p.n_tokens:,} tokens…"
    if not p.n_tokens:
        return 0.0, "Reading the first documents…"
    share = min(p.n_bytes / p.total_bytes, 1.0) if p.total_bytes else 0.0
    left = "" if p.seconds_left is None else f" · {_duration(p.seconds_left)} left"
    return share, (
        f"{p.n_tokens:,} tokens · {number(p.tokens_per_second)} tokens/s{left} · {number(p.memory / 1e9)} GB"
    )


def _duration(seconds: float) -> str:
    """Format seconds in the largest unit that fits."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{number(seconds / size, 2)} {unit}"
    return f"{seconds:.0f} s"


def _sample(build: Build) -> str:
    sample = build.request.sample if build.request else 1.0
    return "" if sample == 1 else f", {number(100 * sample)}% of its documents"
