"""The models found: what they are, what is missing or damaged, and the command that mends it."""

from typing import Any

import streamlit as st

from cache.format.schema import CacheError
from dashboard.models.builds import build_section
from dashboard.models.measures import measured
from dashboard.shared import places, settings
from dashboard.shared.catalog import FoundModel, ModelError
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import NEURON, NEURONS
from dashboard.shared.settings import MODELS_VARIABLE

KINDS = {
    "solu_ln": "SoLU with LayerNorm",
    "solu": "SoLU without LayerNorm",
    "exp_ln": "x·exp(x) with LayerNorm",
    "gelu": "GELU",
    "gelu_ln": "GELU with LayerNorm",
}


# What other architectures' configurations call these sizes.
ALIASES = {
    "n_layers": ("num_hidden_layers", "n_layer"),
    "d_mlp": ("intermediate_size", "n_inner"),
    "d_model": ("hidden_size", "n_embd"),
    "n_ctx": ("max_position_embeddings", "n_positions"),
    "d_vocab": ("vocab_size",),
}


def count(config: dict[str, Any], name: str) -> str:
    """A number of the configuration, which may hold anything."""
    values = (config.get(key) for key in (name, *ALIASES[name]))
    return next((f"{value:,}" for value in values if isinstance(value, int)), "?")


def description(model: FoundModel) -> list[str]:
    """What the checkpoint is, and how it was trained, in lines of Markdown."""
    lines = []
    if c := model.config:
        act_fn = str(c.get("act_fn") or c.get("hidden_act") or c.get("activation_function"))
        kind = KINDS.get(act_fn, f"{c.get('model_type')}, activation {act_fn}")
        layers = count(c, "n_layers")
        lines.append(
            f"{plain(kind)} · {layers} layer{'' if layers == '1' else 's'} of {count(c, 'd_mlp')} "
            f"neurons · width {count(c, 'd_model')} · context {count(c, 'n_ctx')} · "
            f"vocabulary {count(c, 'd_vocab')}"
        )
    if isinstance(tokens := model.training.get("tokens"), int):
        loss = model.bits_per_byte
        said = "" if loss is None else f" · {loss:.3f} bits a byte on text it was not trained on"
        lines.append(f"Trained on {tokens:,} tokens{said}")
    return lines


def card(model: FoundModel) -> None:
    """One model."""
    with st.container(border=True, key=f"model_{model.name}"):
        st.subheader(plain(model.name), anchor=False)
        st.markdown("  \n".join(description(model)))
        problem: object = None
        if model.has_cache:
            try:
                cache = places.cache_of(model)
            except (ModelError, CacheError) as error:
                problem = error
            else:
                corpus = cache.manifest.corpus
                st.markdown(
                    f"Neurons cached over {corpus.n_tokens:,} tokens of {plain(', '.join(corpus.names))} "
                    f"({corpus.n_documents:,} documents)"
                )
                with st.container(horizontal=True):
                    st.page_link(
                        NEURONS,
                        label="Neurons",
                        icon=":material/table_rows:",
                        query_params={"model": model.name},
                    )
                    st.page_link(
                        NEURON,
                        label="Open a neuron",
                        icon=":material/adjust:",
                        query_params={"model": model.name},
                    )
        damage = [found for found in model.problems if not found.command]
        for found in damage:
            st.warning(plain(found.text), icon=":material/build:")
        if problem:
            st.error(plain(problem), icon=":material/error:")
        build_section(model, wanted=bool(problem) or not model.has_cache, whole=not damage)
        st.caption(plain(model.path))


def page() -> None:
    """A card for each model, or what to do when there is none."""
    found = places.models()
    roots = settings.model_roots()
    if not found:
        st.subheader("No model yet", anchor=False)
        st.markdown("These folders were searched for a folder with `config.json` and `model.safetensors`:")
        st.code("\n".join(str(r) for r in roots), language=None)
        st.markdown("Train a small one, build its cache, or show the folder you keep models in:")
        st.code(
            "solu train --preset solu-1l --data PATH --out models/my-model\n"
            "solu cache build --model models/my-model --data PATH --out models/my-model/neurons\n"
            "solu dashboard --models FOLDER",
            language="shell",
        )
        return
    columns = st.columns(2, gap="medium")
    for index, model in enumerate(found):
        with columns[index % 2]:
            card(model)
    measured(found)
    st.caption(
        f"Searched: {', '.join(plain(r) for r in roots)}. More folders: `solu dashboard --models FOLDER`, "
        f"or the environment variable `{MODELS_VARIABLE}`."
    )


page()
