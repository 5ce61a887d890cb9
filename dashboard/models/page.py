"""Page of the models on this server: description, damage, links to their neurons, and comparisons."""

from typing import Any

import streamlit as st

from cache.format.schema import CacheError
from dashboard.models.build_section import build_section
from dashboard.models.comparisons import draw_comparisons
from dashboard.shared import places, settings
from dashboard.shared.catalog import ModelError, ModelFolder
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import NEURON, NEURONS
from dashboard.shared.settings import MODELS_VARIABLE

# Names to read of the activation functions of `SoluConfig`.
ACTIVATIONS = {
    "solu_ln": "SoLU with LayerNorm",
    "solu": "SoLU without LayerNorm",
    "exp_ln": "x·exp(x) with LayerNorm",
    "gelu": "GELU",
    "gelu_ln": "GELU with LayerNorm",
}

# Names of these sizes in the configurations of other architectures.
ALIASES = {
    "n_layers": ("num_hidden_layers", "n_layer"),
    "d_mlp": ("intermediate_size", "n_inner"),
    "d_model": ("hidden_size", "n_embd"),
    "n_ctx": ("max_position_embeddings", "n_positions"),
    "d_vocab": ("vocab_size",),
}


def count(config: dict[str, Any], name: str) -> str:
    """Format a size of the configuration; a question mark if it is missing or not a whole number."""
    values = (config.get(key) for key in (name, *ALIASES[name]))
    return next((f"{value:,}" for value in values if isinstance(value, int)), "?")


def description(model: ModelFolder) -> list[str]:
    """Describe the checkpoint and its training, in lines of Markdown."""
    lines = []
    if c := model.config:  # any JSON object: the file may be of another program
        act_fn = str(c.get("act_fn") or c.get("hidden_act") or c.get("activation_function"))
        kind = ACTIVATIONS.get(act_fn, f"{c.get('model_type')}, activation {act_fn}")
        layers = count(c, "n_layers")
        lines.append(
            f"{plain(kind)} · {layers} layer{'' if layers == '1' else 's'} of {count(c, 'd_mlp')} "
            f"neurons · width {count(c, 'd_model')} · context {count(c, 'n_ctx')} · "
            f"vocabulary {count(c, 'd_vocab')}"
        )
    if isinstance(tokens := model.training.get("tokens"), int):
        loss = model.bits_per_byte
        held_out = "" if loss is None else f" · held-out loss {loss:.3f} bits per byte"
        lines.append(f"Trained on {tokens:,} tokens{held_out}")
    return lines


def card(model: ModelFolder) -> None:
    """Draw one model."""
    with st.container(border=True, key=f"model_{model.name}"):
        st.subheader(plain(model.name), anchor=False)
        st.markdown("  \n".join(description(model)))
        problem: object = None
        if model.has_cache:
            try:
                cache = places.cache_of(model)
                contexts = cache.contexts_read  # reads the vocabulary, which may be damaged
            except (ModelError, CacheError) as error:
                problem = error
            else:
                corpus = cache.manifest.corpus
                st.markdown(
                    f"Neurons cached over {corpus.n_tokens:,} tokens of {plain(', '.join(corpus.names))} "
                    f"({corpus.n_documents:,} documents), in {plain(contexts)}"
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
        # A missing cache is a problem with a command; `build_section` draws it.
        damage = [p for p in model.problems if not p.command]
        for entry in damage:
            st.warning(plain(entry.text), icon=":material/build:")
        if problem:
            st.error(plain(problem), icon=":material/error:")
        build_section(model, needs_cache=bool(problem) or not model.has_cache, is_complete=not damage)
        st.caption(plain(model.path))


def page() -> None:
    """Draw a card for each model, or instructions if there is none."""
    models = places.models()
    roots = settings.model_roots()
    if not models:
        st.subheader("No model yet", anchor=False)
        st.markdown("No checkpoint folder (`config.json` and weights) was found in:")
        st.code("\n".join(str(r) for r in roots), language=None)
        st.markdown("Train a small model and build its cache, or name the folder with your models:")
        st.code(
            "solu train --preset solu-1l --data PATH --out models/my-model\n"
            "solu cache build --model models/my-model --data PATH --out models/my-model/neurons\n"
            "solu dashboard --models FOLDER",
            language="shell",
        )
        return
    columns = st.columns(2, gap="medium")
    for index, model in enumerate(models):
        with columns[index % 2]:
            card(model)
    draw_comparisons(models)
    st.caption(
        f"Folders searched: {', '.join(plain(r) for r in roots)}. To add one: "
        f"`solu dashboard --models FOLDER`, or the environment variable `{MODELS_VARIABLE}`."
    )


page()
