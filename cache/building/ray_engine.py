"""Build a cache on a Ray cluster, one shard for each task.

solu cache build --engine ray --address HOST:6379 --model MODEL --data PATH --out OUT

`OUT.shards` holds the plan and a file for each complete shard and each merge of shards. A task whose worker
dies is tried again, and the same command after a kill runs the tasks that have no file yet. All workers must
see the model, the text and OUT under the same names: mounted, or in a store. A document belongs to a shard
by its name, so each task reads the whole text, and runs the model on the documents of its shard.
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

from cache.building.build import read_corpus, write_complete_state
from cache.building.engine import Engine, Options
from cache.building.ray_cluster import (
    RETRIES,
    SHARDS_PER_SLOT,
    connected,
    count_slots,
    import_ray,
    result_of,
    task_resources,
    with_resources,
)
from cache.format.schema import MANIFEST, CacheError, Manifest, Record
from cache.shards.corpus import Corpus, CorpusPart
from cache.shards.settings import Settings
from cache.shards.shard_file import load_merged, save_state
from cache.storage import stores
from cache.storage.targets import check_cache_target
from solu_model.files import remove
from solu_model.loading.checkpoints import load_tokenizer
from solu_model.text.documents import check_corpus, corpus_bytes

PLAN = "plan.json"


class Plan(Record):
    """`plan.json`: the build that the shards beside it belong to."""

    settings: Settings
    names: list[str]
    """Names of the corpus."""
    corpus_bytes: int | None
    """Size of its text, None if it is not on disk; another size means that the text has changed."""
    n_shards: int = Field(ge=1)


@dataclass(frozen=True)
class Job:
    """Arguments of every Ray task."""

    model: str
    data: tuple[str, ...]
    tokenizer: str | None
    options: Options
    out: str
    cwd: str
    """Folder of the driver, to which relative paths refer. They stay relative, as the manifest keeps them."""
    local: tuple[str, ...]
    """Paths that must exist on every worker."""

    @property
    def shards(self) -> str:
        """Folder of the shard files."""
        return stores.with_suffix(self.out, ".shards")

    def file(self, first: int, last: int) -> str:
        """Return the file of the shards from `first` to before `last`."""
        return stores.file_in(self.shards, _name(first, last))


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
    """Build a cache on a Ray cluster: the same bytes as `build.build_cache`.

    Args:
        model_path, data, options, tokenizer_path, progress: as in `build_cache`. `options.n_threads` are the
            threads of each task, 1 where None; a task takes as many cores of the cluster.
        out: folder to write, a path that all workers share or a URL. `OUT.shards` is beside it until the end.
        address: of a running cluster, as `ray.init` takes it; where None that of RAY_ADDRESS, or the cluster
            that this process is connected to, or one on this machine, started for this build.
        n_shards: parts of the corpus; where None four for each task that can run at the same time. A task
            that reads a shard takes the memory of its statistics, one that merges twice as much.

    Returns:
        The manifest that was written.

    Raises:
        CheckpointError, CorpusError: the model or the text cannot be read.
        CacheError: Ray is not installed; the cluster is not reached or too small; a worker lacks a file, or
            died again and again; `OUT.shards` belongs to another build.
    """
    check_cache_target(out)
    ray = import_ray()
    with connected(ray, address):
        options = with_resources(ray, options or Options())
        local_paths = [p for p in (model_path, tokenizer_path, *data) if p is not None and Path(p).exists()]
        job = Job(
            model=str(model_path),
            data=tuple(map(str, data)),
            tokenizer=None if tokenizer_path is None else str(tokenizer_path),
            options=options,
            out=str(out if "://" in str(out) else Path(out).absolute()),
            cwd=str(Path.cwd()),
            local=tuple(sorted({str(model_path), *map(str, local_paths)})),
        )

        # A worker describes the build: the driver may have neither the model nor a GPU.
        description = _remote(ray, describe, task_resources(options)).remote(job)
        settings, n_bytes = result_of(ray, description)
        merging = {"num_cpus": 1, "num_gpus": 0, "memory": 2 * settings.memory}
        count_slots(ray, merging)  # fails now rather than after all shards are read
        reading = task_resources(options, settings.memory)
        n_slots = count_slots(ray, reading)
        earlier = _read_plan(job.shards)
        plan = Plan(
            settings=settings,
            names=Corpus(data, text=options.text).names,
            corpus_bytes=n_bytes,
            n_shards=n_shards or (earlier.n_shards if earlier else SHARDS_PER_SLOT * n_slots),
        )
        if earlier is None:
            stores.write(stores.file_in(job.shards, PLAN), plan.model_dump_json(indent=1).encode())
        elif earlier != plan:
            raise CacheError(
                f"{job.shards} is an interrupted build with other settings, text or number of shards "
                f"({earlier.n_shards}): finish that one, or remove the folder"
            )
        _run_tasks(
            ray,
            job,
            plan,
            _remote(ray, read_shard, reading),
            _remote(ray, merge_shards, merging),
            _remote(ray, merge_and_write, merging),
            progress=progress,
        )
        content = stores.read(stores.file_in(out, MANIFEST))
        if content is None:
            raise CacheError(
                f"{out} was written by a worker and is not visible here: is it on a shared disk?"
            )
        manifest = Manifest.model_validate_json(content)
        for name in stores.list_names(job.shards) - {PLAN}:
            stores.remove(stores.file_in(job.shards, name))
        stores.remove(job.shards)
        return manifest


def _remote(ray: Any, task: Callable[..., Any], resources: dict[str, int]) -> Any:
    """Return the remote function of a task, which is tried again when its worker dies or a store fails."""
    return ray.remote(max_retries=RETRIES, retry_exceptions=[OSError], **resources)(task)


def describe(job: Job) -> tuple[Settings, int | None]:
    """Return the settings of all shards, and the bytes of text on disk (a Ray task)."""
    with _in_driver_folder(job):
        check_corpus(job.data, job.options.text)
        engine = Engine(Path(job.model), job.options, tokenizer_path=job.tokenizer)
        return engine.settings, corpus_bytes(job.data, job.options.text)


def read_shard(job: Job, plan: Plan, k: int) -> int:
    """Read part k of the corpus and write its shard; return its number of tokens (a Ray task)."""
    with _in_driver_folder(job, plan):
        engine = Engine(Path(job.model), job.options, tokenizer_path=job.tokenizer)
        if engine.settings != plan.settings:
            differing = engine.settings.difference(plan.settings)
            raise CacheError(
                f"the worker on {socket.gethostname()} has another model or other packages than the first "
                f"worker ({differing}): install the same on all of them"
            )
        part = CorpusPart(k, plan.n_shards)
        corpus = Corpus(job.data, job.options.sample, job.options.seed, part, job.options.text)
        with stores.staged(job.file(k, k + 1)) as file:
            # If this worker dies, its successor resumes from here, provided that it sees this disk.
            saved = file.with_name(file.name + ".state")
            state = read_corpus(engine, corpus, saved, progress=False)
            save_state(state, file)
            remove(saved)
        return state.n_tokens


def merge_shards(job: Job, plan: Plan, first: int, last: int, *_: object) -> None:
    """Merge two files of shards into one (a Ray task); the last arguments are the tasks that make them."""
    with _in_driver_folder(job, plan):
        merged_file = job.file(first, last)
        if _name(first, last) not in stores.list_names(job.shards):  # else a worker died after it wrote it
            state = load_merged(job.file(*half) for half in _halves(first, last))
            with stores.staged(merged_file) as file:
                save_state(state, file)
        # Only now: a worker that dies before this line leaves both halves.
        for half in _halves(first, last):
            stores.remove(job.file(*half))


def merge_and_write(job: Job, plan: Plan, *_: object) -> None:
    """Merge the last two files of shards and write the cache (a Ray task)."""
    with _in_driver_folder(job, plan):
        state = load_merged(job.file(*half) for half in _halves(0, plan.n_shards))
        with stores.staged(job.out) as folder:
            write_complete_state(state, load_tokenizer(job.tokenizer or job.model), folder)


def _run_tasks(ray: Any, job: Job, plan: Plan, read: Any, merge: Any, write: Any, *, progress: bool) -> None:
    """Submit all tasks for which there is no file yet, and wait for them.

    The tasks form a binary tree of merges: each merge depends on the tasks of its two halves.

    Args:
        ray: the module.
        job, plan: arguments of the tasks.
        read, merge, write: the remote functions of `read_shard`, `merge_shards` and `merge_and_write`.
        progress: draw a progress bar.
    """
    done = stores.list_names(job.shards)
    reading, merging = [], []

    def submit(first: int, last: int) -> Any:
        """Submit the tasks that make the file of these shards; return the last one, None if it exists."""
        if _name(first, last) in done:
            return None
        if last - first == 1:
            reading.append(read.remote(job, plan, first))
            return reading[-1]
        halves = [submit(*half) for half in _halves(first, last)]
        merging.append(merge.remote(job, plan, first, last, *halves))
        return merging[-1]

    roots = [submit(*half) for half in _halves(0, plan.n_shards)]
    merging.append(write.remote(job, plan, *roots))
    shards, waiting, n_tokens, started = set(reading), reading + merging, 0, monotonic()
    n_done = plan.n_shards - len(reading)
    try:
        with tqdm(
            total=plan.n_shards, initial=n_done, unit="shard", desc="caching", disable=not progress
        ) as bar:
            while waiting:
                ready, waiting = ray.wait(waiting)
                for task in ready:
                    result = result_of(ray, task)
                    if task in shards:
                        n_tokens += result
                        rate = n_tokens / (monotonic() - started)
                        bar.set_postfix_str(f"{n_tokens:,} tokens, {rate:,.0f}/s", refresh=False)
                        bar.update()
    finally:
        for task in waiting:  # of a build that failed or was interrupted; complete shards stay
            ray.cancel(task)


def _halves(first: int, last: int) -> list[tuple[int, int]]:
    """Return the two halves of a run of shards; a single shard is its own half."""
    middle = (first + last) // 2
    return [(first, middle), (middle, last)] if last - first > 1 else [(first, last)]


def _name(first: int, last: int) -> str:
    return f"{first:05d}-{last:05d}.safetensors"


def _read_plan(shards: str) -> Plan | None:
    """Return the plan of an interrupted build, None if there is none.

    Raises:
        CacheError: the folder holds something else, or its plan is damaged.
    """
    content = stores.read(stores.file_in(shards, PLAN))
    if content is None:
        if stores.list_names(shards):
            raise CacheError(
                f"{shards} is the folder for shards while a cache is built, but it holds something else "
                f"(no {PLAN}): move it away or choose another --out"
            )
        return None
    try:
        return Plan.model_validate_json(content)
    except ValidationError as error:
        raise CacheError(f"{shards}/{PLAN} is damaged ({error}): remove the folder") from error


@contextmanager
def _in_driver_folder(job: Job, plan: Plan | None = None) -> Iterator[None]:
    """Work in the driver's folder for the length of the block.

    Raises:
        CacheError: this worker does not see the driver's files.
    """
    worker = f"the worker on {socket.gethostname()}"
    with chdir(job.cwd) if Path(job.cwd).is_dir() else nullcontext():
        for path in job.local:
            if not Path(path).exists():
                raise CacheError(
                    f"{worker} cannot see {Path(job.cwd, path)}: put it under this path on every node"
                )
        if plan is not None and _read_plan(job.shards) != plan:
            raise CacheError(
                f"{worker} cannot see the files of the driver in {job.shards}: all nodes must share --out, "
                "on a mounted disk or in a store (s3://...)"
            )
        yield
