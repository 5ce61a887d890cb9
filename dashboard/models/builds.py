"""The part of a model's card that builds its cache: the form, how far a build is, how it ended."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from analysis.formatting import number
from dashboard.models import build_jobs as jobs
from dashboard.models.build_jobs import Build, JobError
from dashboard.shared.catalog import FoundModel
from dashboard.shared.error_message import show_problem
from dashboard.shared.messages import plain
from dashboard.shared.settings import BUILDS_VARIABLE, builds_allowed

_EVERY = 1.0  # seconds between looks at a build that runs


def build_section(model: FoundModel, wanted: bool, whole: bool) -> None:
    """What there is to see and do.

    Args:
        wanted: whether the model lacks a cache that can be shown.
        whole: whether its checkpoint lacks nothing.
    """
    build = jobs.build_of(model.path)
    key = f"build_{model.name}"
    if problem := st.session_state.pop(f"{key}_problem", ""):
        show_problem("That did not work", problem)
    if build and build.state in ("running", "stopping"):
        _running(model, key)
    elif build and build.job and build.state != "done":
        _ended(model, build, key)
    elif wanted:
        if not model.has_cache:
            st.markdown("**No neuron cache yet.** One can be built from any text.")
        may = builds_allowed(st.get_option("server.address"))
        if may and whole:
            _form(model, key)
        with st.expander("In a terminal", key=f"{key}_terminal", expanded=not may):
            st.code(model.build_command, language="shell", wrap_lines=True)
            if not may:
                st.caption(
                    "Building from this page is off, since other machines may reach it: whoever started the "
                    f"dashboard can turn it on with `solu dashboard --builds`, or `{BUILDS_VARIABLE}=1`."
                )


def _form(model: FoundModel, key: str) -> None:
    """Which text, and how much of it."""
    with st.form(key, border=False):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            text = st.text_input(
                "Text: a file or folder on this server", placeholder="/data/text",
                help="Parquet or JSON lines with a column text, or plain text. Nothing in it is changed. Its "
                "passages appear as examples.",
            )  # fmt: skip
            percent = st.number_input("Documents read, %", 0.01, 100.0, 100.0, width=140)
        submitted = st.form_submit_button("Build the cache", icon=":material/build:")
    if submitted:
        try:
            _start(model, jobs.checked_text(text), percent / 100)
        except JobError as error:
            show_problem("Not started", error)
        else:
            st.rerun()


@st.fragment(run_every=_EVERY)
def _running(model: FoundModel, key: str) -> None:
    """How far it is; the whole page is drawn anew when it ends."""
    build = jobs.build_of(model.path)
    if build is None or build.state not in ("running", "stopping"):
        st.rerun()
    if build.job:
        st.markdown(f"Building its cache from {plain(build.job.data)}{_sample(build)}")
    done, text = _progress(build)
    st.progress(done, plain(text))
    stopping = build.state == "stopping"
    if st.button(
        "Stopping…" if stopping else "Stop", key=f"{key}_stop", icon=":material/stop:", disabled=stopping,
        help="What was read is saved; it can go on from there.",
    ):  # fmt: skip
        _try(key, lambda: jobs.stop(model.path))
        st.rerun()
    st.caption("It goes on when this page is closed.")


def _ended(model: FoundModel, build: Build, key: str) -> None:
    """A build that left no cache: why, and what can be done."""
    assert build.job is not None
    read = f" after {build.progress.n_tokens:,} tokens" if build.progress else ""
    if build.state == "stopped":
        st.info(plain(f"The build from {build.job.data} was stopped{read}."), icon=":material/stop_circle:")
    else:
        show_problem(
            f"The build from {build.job.data} failed{read}", build.output or "It was killed and said nothing."
        )
    job = build.job

    def go_on() -> None:
        _try(key, lambda: _start(model, job.data, job.sample))

    with st.container(horizontal=True, gap="small"):
        st.button(
            "Go on" if build.can_go_on else "Begin again", key=f"{key}_again", icon=":material/play_arrow:",
            on_click=go_on, disabled=not builds_allowed(st.get_option("server.address")),
        )  # fmt: skip
        st.button(
            "Discard", key=f"{key}_discard", icon=":material/delete:",
            on_click=lambda: _try(key, lambda: jobs.discard(model.path)),
            help="Forget this build and what it read.",
        )  # fmt: skip


def _start(model: FoundModel, data: Path, sample: float) -> None:
    if not builds_allowed(st.get_option("server.address")):
        raise JobError("building from this page is off")
    jobs.start(model.path, data, sample)


def _try(key: str, act: Callable[[], None]) -> None:
    """Do it; what goes wrong is shown at the next run."""
    try:
        act()
    except JobError as error:
        st.session_state[f"{key}_problem"] = str(error)


def _progress(build: Build) -> tuple[float, str]:
    """The share done, and in words: tokens, speed, time left, memory."""
    p = build.progress
    if p is None:
        return 0.0, "Loading the model…"
    if p.stage == "writing":
        return 1.0, f"Writing what was kept of {p.n_tokens:,} tokens…"
    if not p.n_tokens:
        return 0.0, "Reading the first documents…"
    share = min(p.n_bytes / p.total_bytes, 1.0) if p.total_bytes else 0.0
    left = "" if p.seconds_left is None else f" · {_duration(p.seconds_left)} left"
    return share, (
        f"{p.n_tokens:,} tokens · {number(p.tokens_per_second)} tokens/s{left} · {number(p.memory / 1e9)} GB"
    )


def _duration(seconds: float) -> str:
    """In the largest unit that fits."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{number(seconds / size, 2)} {unit}"
    return f"{seconds:.0f} s"


def _sample(build: Build) -> str:
    sample = build.job.sample if build.job else 1.0
    return "" if sample == 1 else f", {number(100 * sample)}% of its documents"
