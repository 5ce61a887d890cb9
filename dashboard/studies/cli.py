"""`solu study create | status | export | unblind | power`: blinded rating studies from the command line."""

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from cache.reader import NeuronCache
    from dashboard.studies.storage.store import StudyStore

app = typer.Typer(
    no_args_is_help=True, help="Compare models by people who rate neurons without knowing the model."
)

DatabaseOption = Annotated[
    str | None,
    typer.Option("--annotations", help="URL of the database. Default: that of the dashboard's labels."),
]
StudyArgument = Annotated[str, typer.Argument(help="Id of a study, from `solu study status`.")]


@app.command()
def create(
    title: Annotated[str, typer.Argument(help="Title that raters see. Name no model in it.")],
    model: Annotated[
        list[str],
        typer.Option(
            help="Name or folder of a model with a cache, and optionally :hook_mid (before LayerNorm) or "
            ":hook_post (after LayerNorm). Give the option for two models or more."
        ),
    ],
    layers: Annotated[
        str, typer.Option(help="Layers to draw neurons from, as 0,3,5. Default: all layers in the cache.")
    ] = "",
    neurons: Annotated[int, typer.Option(help="Neurons per model.")] = 60,
    repeats: Annotated[int, typer.Option(help="Neurons, over all models, that are shown twice.")] = 6,
    checks: Annotated[int, typer.Option(help="Attention checks: items with a known answer.")] = 6,
    seed: Annotated[int, typer.Option(help="Seed of the drawn neurons and of the orders.")] = 0,
    snippets: Annotated[int, typer.Option(help="Strongest snippets shown for each neuron.")] = 20,
    window: Annotated[
        tuple[int, int], typer.Option(help="Tokens shown before and after a snippet's peak.")
    ] = (16, 8),
    min_firing: Annotated[
        float,
        typer.Option(help="A neuron is dead if its maximum is below this share of its layer's median."),
    ] = 0.01,
    shading: Annotated[
        str,
        typer.Option(
            help="Meaning of the shades of red: magnitude, as in the paper, or rank, which tells less about "
            "the model."
        ),
    ] = "magnitude",
    different_corpora: Annotated[
        bool,
        typer.Option(
            "--different-corpora", help="Allow caches over different texts, which can tell the models apart."
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File to write the pre-registration to, as JSON.")] = None,
    annotations: DatabaseOption = None,
) -> None:
    """Draw the neurons of a study, seal the key that assigns items to neurons, and save all of it."""
    from tqdm import tqdm

    from dashboard.studies.plan.cards import make_cards
    from dashboard.studies.plan.design import digest, new_design
    from dashboard.studies.plan.sampling import draw, require_same_text, side_of
    from solu_model.files import written_aside
    from solu_model.targets import check_target

    if out is not None:  # first, and never over another study's pre-registration
        check_target(out, "pre-registration")
    console = Console(soft_wrap=True, highlight=False)
    opened = [_opened(named) for named in model]
    caches = [cache for _, cache, _ in opened]
    if not different_corpora:
        require_same_text(caches)
    design = new_design(
        title=title,
        sides=tuple(side_of(name, cache, hook, _layers(layers)) for name, cache, hook in opened),
        n_neurons=neurons, n_repeats=repeats, n_checks=checks, n_snippets=snippets,
        n_before=window[0], n_after=window[1], min_firing=min_firing, seed=seed,
        shading=shading,
    )  # fmt: skip
    store = _store(annotations)
    plan = draw(design, caches)
    with tqdm(total=len(plan.items), desc="cards", unit="card", delay=1, leave=False) as bar:
        cards = make_cards(plan, caches, bar.update)
    study = store.create(plan, cards)
    registered = store.preregistration(study)
    if out is not None:
        with written_aside(out) as aside:
            aside.write_bytes(registered)
    for left in plan.left_out:
        console.print(
            f"{design.sides[left.side].model}: {neurons:,} of {left.n_live:,} neurons drawn; "
            f"{left.n_dead:,} dead, {left.n_short:,} passed over with too little text around their peaks",
            markup=False,
        )
    size = len(next(iter(cards.values())))
    console.print(f"{len(plan.items):,} items per rater, each a card of {size:,} bytes", markup=False)
    console.print(f"SHA-256 of the pre-registration  {digest(registered)}", markup=False)
    console.print(f"study                            {study}", markup=False)
    console.print(f"rate at                          http://localhost:8501/rate?study={study}", markup=False)


@app.command()
def status(
    study: Annotated[str | None, typer.Argument(help="Id of a study. Default: list all studies.")] = None,
    annotations: DatabaseOption = None,
) -> None:
    """List the studies, or the raters of one study with their progress."""
    store = _store(annotations)
    console = Console(soft_wrap=True, highlight=False)
    table = Table(box=None, pad_edge=False)
    if study is None:
        table.add_column("study", no_wrap=True)  # never cut: it is copied
        for column in ("title", "items", "raters", "ratings", "state"):
            table.add_column(column)
        for s in store.studies():
            state = f"unblinded {s.closed:%Y-%m-%d}" if s.closed else "blind"
            _row(table, s.id, s.title, s.n_items, s.n_raters, s.n_ratings, state)
    else:
        for column in ("rater", "done", "of", "minutes"):
            table.add_column(column)
        for rater, progress in store.progress(study).items():
            _row(table, rater, progress.done, progress.total, f"{progress.seconds / 60:.1f}")
    console.print(table if table.row_count else "none yet")


@app.command()
def export(
    study: StudyArgument,
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    annotations: DatabaseOption = None,
) -> None:
    """Write the pre-registration and the ratings; after unblinding also the key and each rating's neuron."""
    from dashboard.studies.storage.export import check_folder, files
    from solu_model.files import written_aside

    contents = files(_store(annotations), study)
    check_folder(out, contents)
    for name, data in contents.items():
        with written_aside(out / name) as aside:
            aside.write_bytes(data)
        typer.echo(str(out / name))


@app.command()
def unblind(
    study: StudyArgument,
    by: Annotated[
        str | None,
        typer.Option(help="Name of the person who unblinds. Default: SOLU_USER, else the account."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    annotations: DatabaseOption = None,
) -> None:
    """Close a study for good and reveal its key."""
    store = _store(annotations)
    summary = store.summary(study)
    if not yes:
        typer.confirm(
            f"The study has {summary.n_ratings:,} ratings by {summary.n_raters:,} raters. After unblinding "
            "it takes no more ratings. This cannot be undone. Continue?",
            abort=True,
        )
    store.unblind(study, by or os.environ.get("SOLU_USER") or getpass.getuser())
    typer.echo(
        f"{study} is unblinded: `solu study export {study} --out FOLDER` writes the key and the ratings"
    )


@app.command()
def power(
    first: Annotated[float, typer.Argument(help="Share of interpretable neurons of one model, as 0.35.")],
    second: Annotated[float, typer.Argument(help="Share of the other model, as 0.6.")],
    wanted: Annotated[float, typer.Option("--power", help="Chance that the test sees the difference.")] = 0.8,
    alpha: Annotated[
        float, typer.Option(help="The test sees a difference if its p-value is at most this.")
    ] = 0.05,
) -> None:
    """Print the number of neurons per model that a study needs to see a difference, by the exact test."""
    from analysis.rating import exact_power, neurons_needed

    try:
        n = neurons_needed(first, second, wanted, alpha)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if n is None:
        typer.echo("more than 2,000 neurons per model")
    else:
        typer.echo(f"{n:,} neurons per model: power {exact_power(n, first, second, alpha):.1%}")


def _store(url: str | None) -> "StudyStore":
    from dashboard.shared.annotations.content import database_url
    from dashboard.shared.annotations.database import Database
    from dashboard.studies.storage.store import StudyStore

    return StudyStore(Database(url or database_url()))


def _opened(named: str) -> tuple[str, "NeuronCache", str]:
    """Open the model NAME_OR_PATH[:hook]; return its name, its cache and the hook, empty without one.

    Raises:
        StudyError: there is no such model.
    """
    from typing import get_args

    from cache.format.schema import Hook
    from cache.reader import NeuronCache
    from dashboard.shared.catalog import find_models
    from dashboard.shared.settings import model_roots
    from dashboard.studies.plan.design import StudyError

    before, _, after = named.rpartition(":")
    name, hook = (before, after) if after in get_args(Hook) else (named, "")
    models = find_models(model_roots())
    model = next((m for m in models if m.name == name), None)
    if model is None and Path(name).is_dir():
        model = next(iter(find_models([Path(name)])), None)
    if model is None:
        raise StudyError(
            f"expected a model's name ({', '.join(m.name for m in models)}) or folder, found {name!r}: "
            "add its folder to SOLU_MODELS"
        )
    return model.name, NeuronCache.open(model.cache), hook


def _layers(text: str) -> list[int]:
    """Read numbers separated by commas.

    Raises:
        typer.BadParameter: a part is not a number.
    """
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter("expected layers as 0,3,5", param_hint="--layers") from error


def _row(table: Table, *cells: object) -> None:
    """Add a row whose brackets are not read as markup."""
    from rich.text import Text

    table.add_row(*(Text(str(cell)) for cell in cells))
