"""`solu study create | status | export | unblind | power`: a blinded rating study from the command line."""

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
    no_args_is_help=True, help="Have people rate neurons without knowing the model, and compare models."
)

DatabaseOption = Annotated[
    str | None,
    typer.Option("--annotations", help="The database, as a URL; without it that of the dashboard's labels."),
]
StudyArgument = Annotated[str, typer.Argument(help="A study's id, as `solu study status` lists it.")]


@app.command()
def create(
    title: Annotated[str, typer.Argument(help="What raters see over the study: name no model in it.")],
    model: Annotated[
        list[str],
        typer.Option(
            help="A model with a cache: its name on the dashboard or its folder, then :hook_mid or "
            ":hook_post where it is to be that one. Two or more."
        ),
    ],
    layers: Annotated[
        str, typer.Option(help="Layers to draw from, by commas; all that a cache holds without it.")
    ] = "",
    neurons: Annotated[int, typer.Option(help="Neurons a model.")] = 60,
    repeats: Annotated[int, typer.Option(help="Neurons shown twice, over all models.")] = 6,
    checks: Annotated[int, typer.Option(help="Attention checks: items with a known answer.")] = 6,
    seed: Annotated[int, typer.Option(help="Of the neurons and the orders.")] = 0,
    snippets: Annotated[int, typer.Option(help="Strongest snippets shown of a neuron.")] = 20,
    window: Annotated[
        tuple[int, int], typer.Option(help="Tokens shown before and after a snippet's peak.")
    ] = (16, 8),
    min_firing: Annotated[
        float, typer.Option(help="Dead is whose maximum is below this share of its layer's median maximum.")
    ] = 0.01,
    shading: Annotated[
        str, typer.Option(help="What shades of red say: magnitude, as in the paper, or rank: less telling.")
    ] = "magnitude",
    different_corpora: Annotated[
        bool, typer.Option("--different-corpora", help="Allow caches over different texts: less blind.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the pre-registration, as JSON.")] = None,
    annotations: DatabaseOption = None,
) -> None:
    """Draw the neurons, seal which is which, and store all of it before the first rating."""
    from tqdm import tqdm

    from dashboard.studies.plan.cards import make_cards
    from dashboard.studies.plan.design import digest, new_design
    from dashboard.studies.plan.sampling import draw, require_same_text, side_of
    from solu_model.files import written_aside

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
            f"{left.n_dead:,} dead, {left.n_short:,} passed over for want of text around their firings",
            markup=False,
        )
    size = len(next(iter(cards.values())))
    console.print(f"{len(plan.items):,} items a rater, each a card of {size:,} bytes", markup=False)
    console.print(f"SHA-256 of the pre-registration  {digest(registered)}", markup=False)
    console.print(f"study                            {study}", markup=False)
    console.print(f"rate at                          http://localhost:8501/rate?study={study}", markup=False)


@app.command()
def status(
    study: Annotated[str | None, typer.Argument(help="A study's id; all studies without it.")] = None,
    annotations: DatabaseOption = None,
) -> None:
    """The studies that are kept; or how far the raters of one are."""
    store = _store(annotations)
    console = Console(soft_wrap=True, highlight=False)
    table = Table(box=None, pad_edge=False)
    if study is None:
        table.add_column("study", no_wrap=True)  # whole, to be copied
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
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    annotations: DatabaseOption = None,
) -> None:
    """Write the pre-registration and the ratings; after unblinding also the key, and what it says of each."""
    from dashboard.studies.storage.export import files
    from solu_model.files import written_aside

    for name, data in files(_store(annotations), study).items():
        with written_aside(out / name) as aside:
            aside.write_bytes(data)
        typer.echo(str(out / name))


@app.command()
def unblind(
    study: StudyArgument,
    by: Annotated[str | None, typer.Option(help="Who does; without it SOLU_USER or the account.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    annotations: DatabaseOption = None,
) -> None:
    """Close a study for good and open its key."""
    store = _store(annotations)
    found = store.summary(study)
    if not yes:
        typer.confirm(
            f"{found.n_ratings:,} ratings by {found.n_raters:,} raters are in. Unblinding takes no more, "
            "and cannot be taken back. Go on?",
            abort=True,
        )
    store.unblind(study, by or os.environ.get("SOLU_USER") or getpass.getuser())
    typer.echo(
        f"{study} is unblinded: `solu study export {study} --out FOLDER` writes the key and the ratings"
    )


@app.command()
def power(
    first: Annotated[float, typer.Argument(help="Fraction interpretable of one model, as 0.35.")],
    second: Annotated[float, typer.Argument(help="Of the other, as 0.6.")],
    wanted: Annotated[float, typer.Option("--power", help="Chance of seeing the difference.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="p-value from which on it counts as seen.")] = 0.05,
) -> None:
    """How many neurons a model a study needs, by the exact test itself."""
    from analysis.rating import n_for, power_of

    try:
        n = n_for(first, second, wanted, alpha)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if n is None:
        typer.echo("more than 2,000 neurons a model")
    else:
        typer.echo(f"{n:,} neurons a model: power {power_of(n, first, second, alpha):.1%}")


def _store(url: str | None) -> "StudyStore":
    from dashboard.shared.annotations.content import database_url
    from dashboard.shared.annotations.database import Database
    from dashboard.studies.storage.store import StudyStore

    return StudyStore(Database(url or database_url()))


def _opened(named: str) -> tuple[str, "NeuronCache", str]:
    """A model's name, its cache and the hook asked for, of NAME_OR_PATH[:hook].

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
    found = next((m for m in models if m.name == name), None)
    if found is None and Path(name).is_dir():
        found = next(iter(find_models([Path(name)])), None)
    if found is None:
        raise StudyError(
            f"expected a model's name ({', '.join(m.name for m in models)}) or folder, found {name!r}: "
            "SOLU_MODELS names more folders"
        )
    return found.name, NeuronCache.open(found.cache), hook


def _layers(text: str) -> list[int]:
    """Numbers by commas.

    Raises:
        typer.BadParameter: they are none.
    """
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter("expected layers as 0,3,5", param_hint="--layers") from error


def _row(table: Table, *cells: object) -> None:
    """A row in which nothing is taken for markup."""
    from rich.text import Text

    table.add_row(*(Text(str(cell)) for cell in cells))
