"""Caches and shards in a store: the bytes of a local build, manifest last, nothing outside the folder."""

from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

from cache.commands import app
from cache.format.schema import CacheError
from cache.storage import stores

run = CliRunner()


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """The empty in-memory store of this process, and a folder for files before their upload."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/", recursive=True)


def contents(url: str) -> dict[str, bytes]:
    """Return the bytes of every file of a folder in a store, by name."""
    store, root = fsspec.core.url_to_fs(url)
    return {path.removeprefix(root).lstrip("/"): store.cat_file(path) for path in store.find(root)}


@pytest.mark.parametrize("scheme", ["memory://bucket/", "file://{}/", "{}/"])
def test_files_of_any_place_are_written_read_listed_and_removed(scheme, tmp_path):
    folder = scheme.format(tmp_path) + "deep/folder"
    assert stores.list_names(folder) == set()
    assert stores.read(stores.file_in(folder, "a")) is None
    for content in (b"one", b"two"):
        stores.write(stores.file_in(folder, "a"), content)
    stores.write(stores.file_in(folder, "b"), b"")
    assert stores.list_names(folder) == {"a", "b"}
    assert stores.read(stores.file_in(folder, "a")) == b"two"
    with stores.local_copy(stores.file_in(folder, "a")) as file:
        assert (file.name, file.read_bytes()) == ("a", b"two")
    stores.remove(stores.file_in(folder, "b"))
    assert stores.list_names(folder) == {"a"}
    stores.remove(folder)
    assert stores.list_names(folder) == set()
    stores.remove(folder)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize("scheme", ["memory://bucket/", "file://{}/"])
def test_a_cache_built_or_merged_into_a_store_is_the_local_one(
    scheme, tiny_checkpoint, tiny_model, corpus, tmp_path
):
    there = scheme.format(tmp_path / "store")
    same = ["--model", str(tiny_checkpoint), "--data", str(corpus)]
    truth = contents(str(tiny_model / "neurons"))
    assert run.invoke(app, ["build", *same, "--out", there + "built"], catch_exceptions=False).exit_code == 0
    assert contents(there + "built") == truth
    for k in range(2):
        out = ["--out", f"{there}{k}.safetensors", "--shard", f"{k}/2"]
        assert run.invoke(app, ["build", *same, *out], catch_exceptions=False).exit_code == 0
    shards = [f"{there}{k}.safetensors" for k in range(2)]
    to = ["--model", str(tiny_checkpoint), "--out", there + "merged"]
    assert run.invoke(app, ["merge", *shards, *to], catch_exceptions=False).exit_code == 0
    assert contents(there + "merged") == truth
    assert set(contents(there).keys()) == {"0.safetensors", "1.safetensors"} | {
        f"{folder}/{name}" for folder in ("built", "merged") for name in truth
    }
    assert not [p for p in (tmp_path / "home").rglob("*") if p.is_file()]


def put(url: str, **files: str) -> Path:
    """Upload a stand-in for a cache: a manifest, and files whose names have `__` for a slash."""
    with stores.staged(url) as folder:
        for name, text in {"cache.json": "{}", **files}.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return folder


def test_the_manifest_comes_last_and_replaces_what_was_there(memory, monkeypatch):
    memory.pipe_file("/bucket/c/notes.txt", b"mine")
    put("memory://bucket/c", tokens="old", profiles__0000="old", profiles__0001="old", examples__0000="old")
    order = []
    put_file = MemoryFileSystem.put_file

    def noted(self, lpath, rpath, **how):
        order.append(rpath.removeprefix("/bucket/c/"))
        assert not memory.exists("/bucket/c/cache.json")
        put_file(self, lpath, rpath, **how)

    monkeypatch.setattr(MemoryFileSystem, "put_file", noted)
    put("memory://bucket/c", tokens="new", profiles__0000="new")
    assert order == ["profiles/0000", "tokens", "cache.json"]
    assert contents("memory://bucket/c") == {
        "cache.json": b"{}",
        "tokens": b"new",
        "profiles/0000": b"new",
        "notes.txt": b"mine",
    }


def test_a_store_that_fails_holds_no_cache_and_nothing_is_lost(monkeypatch, tmp_path):
    def full(*_: object, **__: object) -> None:
        raise PermissionError("no rights in this bucket")

    with monkeypatch.context() as broken:
        broken.setattr(MemoryFileSystem, "put_file", full)
        with pytest.raises(
            stores.StoreError, match=r"cannot upload .* to memory://bucket/c .*no rights"
        ) as told:
            put("memory://bucket/c", tokens="whole")
    assert stores.list_names("memory://bucket/c") == set()
    (kept,) = (tmp_path / "home").rglob("made")
    assert str(kept) in str(told.value)
    assert (kept / "tokens").read_text() == "whole"
    assert put("memory://bucket/c") == kept
    assert contents("memory://bucket/c") == {"cache.json": b"{}", "tokens": b"whole"}


def test_a_build_that_fails_puts_nothing_and_goes_on_from_its_state():
    def build(killed: bool) -> str:
        with stores.staged("memory://bucket/c") as folder:
            saved = folder.with_name(folder.name + ".state")
            found = saved.read_text() if saved.exists() else ""
            saved.write_text("half")
            folder.mkdir(exist_ok=True)
            if killed:
                raise KeyboardInterrupt
        return found

    with pytest.raises(KeyboardInterrupt):
        build(killed=True)
    assert stores.list_names("memory://bucket") == set()
    assert build(killed=False) == "half"
    assert build(killed=False) == ""


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/../../x", "/etc/passwd", "a\\b", "memory://x"])
def test_names_that_lead_out_of_the_folder_are_refused(name):
    with pytest.raises(CacheError, match="expected the name of a file"):
        stores.file_in("memory://bucket/c", name)


@pytest.mark.parametrize("place", ["memory://", "memory:///", "memory://../x", "memory://a/../../x", "/"])
def test_the_root_of_a_store_and_what_is_above_it_are_refused(place):
    for act in (stores.list_names, stores.read, stores.remove):
        with pytest.raises(CacheError, match="below the root"):
            act(place)


def test_links_are_not_followed_into_a_store(memory, tmp_path):
    (tmp_path / "secret").write_text("secret")

    def put_a_link() -> None:
        with stores.staged("memory://bucket/c") as folder:
            folder.mkdir()
            (folder / "linked").symlink_to(tmp_path / "secret")

    with pytest.raises(CacheError, match="is a link"):
        put_a_link()
    assert not memory.exists("/bucket/c")


def test_an_unknown_store_and_a_missing_shard_are_one_message():
    with pytest.raises(CacheError, match=r"nosuch://x/y is in no store .*s3fs"):
        stores.read("nosuch://x/y")
    with pytest.raises(stores.StoreError, match="cannot read memory://bucket/none"):
        stores.local_copy("memory://bucket/none").__enter__()


def test_a_local_path_is_used_as_it_is(tmp_path):
    for place in (tmp_path / "c", str(tmp_path / "c"), f"file://{tmp_path}/c"):
        with stores.staged(place) as local, stores.local_copy(place) as same:
            assert local == same == tmp_path / "c"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a::b", "run[1]", "a*", "with space"])
def test_a_local_path_is_no_address_and_no_pattern(tmp_path, name):
    (tmp_path / "a").mkdir()
    stores.write(tmp_path / name / "x", b"content")
    assert stores.read(str(tmp_path / name / "x")) == b"content"
    assert stores.list_names(tmp_path / name) == {"x"}
    stores.remove(tmp_path / name / "x")
    assert stores.list_names(tmp_path / name) == set()
