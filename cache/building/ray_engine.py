"""Fill a cache on a Ray cluster: the work of `build`, a shard a task.

solu cache build --engine ray --address HOST:6379 --model MODEL --data PATH --out OUT

`OUT.shards` holds the plan and a file for every shard that is whole, and for every merge of shards. A task
whose worker dies is tried again, and the same command after a kill does what has no file yet. Every worker
must see the model, the text and OUT under the same names: mounted, or in a store. A shard is the documents
whose name falls to it, so each task reads the whole text, and gives the model its share alone.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import Field, ValidationError
from tqdm import tqdm

from cache.building.build import finish, read_part
from cache.building.engine import Engine, Options
from cache.building.ray_cluster import RETRIES, SHARDS_A_SLOT, connected, fitted, got, installed, needs, slots
from cache.format.schema import MANIFEST, CacheError, Manifest, Record
from cache.shards.corpus import Corpus, Part
from cache.shards.settings import Settings
from cache.shards.shard_file import load_merged, save_state
from cache.storage import stores
from solu_model.files import remove
from solu_model.loading.checkpoints import load_tokenizer
from solu_model.text.documents import corpus_bytes

PLAN = "plan.json"


class Plan(Record):
    """`plan.json`: what the files beside it are shards of."""

    settings: Settings
    names: list[str]
    """The corpus."""
    corpus_bytes: int | None
    """Of its text, where it is on disk: a sign that it has changed."""
    n_shards: int = Field(ge=1)


@dataclass(frozen=True)
class Job:
    """What every task is told."""

    model: str
    data: tuple[str, ...]
    tokenizer: str | None
    options: Options
    out: str
    cwd: str
    """Where the driver runs. Relative paths are from there; they stay so, since the manifest repeats them."""
    local: tuple[str, ...]
    """Paths that must be there on every worker."""

    @property
    def shards(self) -> str:
        """The folder of shard files."""
        return stores.beside(self.out, ".shards")

    def file(self, first: int, last: int) -> str:
        """The file of the shards from `first` to before `last`."""
        return stores.inside(self.shards, _name(first, last))


def build_on_ray(
    model_path: Path,
    data: Sequence[str | Path],
    out: str | Path,
    options: Options | None = None,
    *,
    address: str | None = None,
    n_shards: int | None = None,
    tokenizer_path: str | Path | None = None,
    progress: bool = True,
) -> Manifest:
    """`build.build_cache` on a Ray cluster: the same bytes.

    Args:
        model_path, data, options, tokenizer_path, progress: as there. `options.n_threads` is of each task,
            1 where None, and takes as many of the cluster's cores.
        out: folder to write, a path that all workers share or a URL. `OUT.shards` is beside it until the end.
        address: of a running cluster, as `ray.init` takes it; where None that of RAY_ADDRESS, or the one this
            process is connected to, or one on this machine alone, started for the purpose.
        n_shards: parts to cut the corpus in; four a task that can run at once where None. A task of a shard
            takes the memory that its statistics do, a merge twice as much.

    Raises:
        CheckpointError, CorpusError: the model or the text cannot be read.
        CacheError: Ray is not installed; the cluster is not reached or too small; a worker does not see what
            it needs, or died again and again; `OUT.shards` is another build's.
    """
    ray = installed()
    with connected(ray, address):
        options = fitted(ray, options or Options())
        here = [p for p in (model_path, tokenizer_path, *data) if p is not None and Path(p).exists()]
        job = Job(
            model=str(model_path),
            data=tuple(map(str, data)),
            tokenizer=None if tokenizer_path is None else str(tokenizer_path),
            options=options,
            out=str(out if "://" in str(out) else Path(out).absolute()),
            cwd=str(Path.cwd()),
            local=tuple(sorted({str(model_path), *map(str, here)})),
        )

        def remote(task: Callable[..., Any], needed: dict[str, int]) -> Any:
            return ray.remote(max_retries=RETRIES, retry_exceptions=[OSError], **needed)(task)

        settings, n_bytes = got(ray, remote(describe, needs(options)).remote(job))
        merging = {"num_cpus": 1, "num_gpus": 0, "memory": 2 * settings.memory}
        slots(ray, merging)
        reading = needs(options, settings.memory)
        at_once = slots(ray, reading)
        held = _held(job.shards)
        plan = Plan(
            settings=settings,
            names=Corpus(data).names,
            corpus_bytes=n_bytes,
            n_shards=n_shards or (held.n_shards if held else SHARDS_A_SLOT * at_once),
        )
        if held is None:
            stores.write(stores.inside(job.shards, PLAN), plan.model_dump_json(indent=1).encode())
        elif held != plan:
            raise CacheError(
                f"{job.shards} is an interrupted build with other settings, text or number of shards "
                f"({held.n_shards}): finish that one, or remove the folder"
            )
        _run(
            ray,
            job,
            plan,
            remote(read_shard, reading),
            remote(merge_shards, merging),
            remote(write_whole, merging),
            progress=progress,
        )
        content = stores.read(stores.inside(out, MANIFEST))
        if content is None:
            raise CacheError(
                f"{out} was written by a worker and cannot be seen here: is it on a shared disk?"
            )
        manifest = Manifest.model_validate_json(content)
        for name in stores.names(job.shards) - {PLAN}:
            stores.remove(stores.inside(job.shards, name))
        stores.remove(job.shards)
        return manifest


def describe(job: Job) -> tuple[Settings, int | None]:
    """Task: what the shards will have in common, and how much text there is."""
    with _at_home(job):
        engine = Engine(Path(job.model), job.options, tokenizer_path=job.tokenizer)
        return engine.settings, corpus_bytes(job.data)


def read_shard(job: Job, plan: Plan, k: int) -> int:
    """Task: read one part of the corpus; the number of tokens in it."""
    with _at_home(job, plan):
        engine = Engine(Path(job.model), job.options, tokenizer_path=job.tokenizer)
        if engine.settings != plan.settings:
            differing = engine.settings.difference(plan.settings)
            raise CacheError(
                f"the worker on {socket.gethostname()} has another model or other packages than the one "
                f"asked first ({differing}): install the same on all of them"
            )
        part = Part(k, plan.n_shards)
        corpus = Corpus(job.data, job.options.sample, job.options.seed, part)
        with stores.staged(job.file(k, k + 1)) as file:
            saved = file.with_name(file.name + ".state")
            state = read_part(engine, corpus, saved, progress=False)
            save_state(state, file)
            remove(saved)
        return state.n_tokens


def merge_shards(job: Job, plan: Plan, first: int, last: int, *_: object) -> None:
    """Task: join two files of shards, which come after it as its dependencies, into one."""
    with _at_home(job, plan):
        joined = job.file(first, last)
        if _name(first, last) not in stores.names(job.shards):  # else its worker died in the last line
            state = load_merged(job.file(*half) for half in _halves(first, last))
            with stores.staged(joined) as file:
                save_state(state, file)
        for half in _halves(first, last):
            stores.remove(job.file(*half))


def write_whole(job: Job, plan: Plan, *_: object) -> None:
    """Task: the last merge, and the cache."""
    with _at_home(job, plan):
        state = load_merged(job.file(*half) for half in _halves(0, plan.n_shards))
        with stores.staged(job.out) as folder:
            finish(state, load_tokenizer(job.tokenizer or job.model), folder)


def _run(ray: Any, job: Job, plan: Plan, read: Any, merge: Any, write: Any, *, progress: bool) -> None:
    """Hand out all tasks for which there is no file yet, and wait for them."""
    done = stores.names(job.shards)
    shards, others = [], []

    def grow(first: int, last: int) -> Any:
        if _name(first, last) in done:
            return None
        if last - first == 1:
            shards.append(read.remote(job, plan, first))
            return shards[-1]
        halves = [grow(*half) for half in _halves(first, last)]
        others.append(merge.remote(job, plan, first, last, *halves))
        return others[-1]

    roots = [grow(*half) for half in _halves(0, plan.n_shards)]
    others.append(write.remote(job, plan, *roots))
    reading, waiting, n_tokens, started = set(shards), shards + others, 0, monotonic()
    n_held = plan.n_shards - len(shards)
    try:
        with tqdm(
            total=plan.n_shards, initial=n_held, unit="shard", desc="caching", disable=not progress
        ) as bar:
            while waiting:
                ready, waiting = ray.wait(waiting)
                for task in ready:
                    found = got(ray, task)
                    if task in reading:
                        n_tokens += found
                        rate = n_tokens / (monotonic() - started)
                        bar.set_postfix_str(f"{n_tokens:,} tokens, {rate:,.0f}/s", refresh=False)
                        bar.update()
    finally:
        for task in waiting:
            ray.cancel(task)


def _halves(first: int, last: int) -> list[tuple[int, int]]:
    """A merge's two runs of shards; of a single shard, itself."""
    middle = (first + last) // 2
    return [(first, middle), (middle, last)] if last - first > 1 else [(first, last)]


def _name(first: int, last: int) -> str:
    return f"{first:05d}-{last:05d}.safetensors"


def _held(shards: str) -> Plan | None:
    """The plan of an interrupted build."""
    content = stores.read(stores.inside(shards, PLAN))
    if content is None:
        if stores.names(shards):
            raise CacheError(
                f"{shards} is where shards go while a cache is built, and holds something else (no {PLAN}): "
                "move it away or take another --out"
            )
        return None
    try:
        return Plan.model_validate_json(content)
    except ValidationError as error:
        raise CacheError(f"{shards}/{PLAN} is damaged ({error}): remove the folder") from error


@contextmanager
def _at_home(job: Job, plan: Plan | None = None) -> Iterator[None]:
    """Where the driver is, if it sees what the driver sees.

    Raises:
        CacheError: it does not.
    """
    who = f"the worker on {socket.gethostname()}"
    with chdir(job.cwd) if Path(job.cwd).is_dir() else nullcontext():
        for path in job.local:
            if not Path(path).exists():
                raise CacheError(
                    f"{who} cannot see {Path(job.cwd, path)}: put it under this path on every node"
                )
        if plan is not None and _held(job.shards) != plan:
            raise CacheError(
                f"{who} cannot see what the driver wrote to {job.shards}: all nodes must share --out, "
                "on a mounted disk or in a store (s3://...)"
            )
        yield
