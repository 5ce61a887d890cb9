"""The model card (README.md) of a checkpoint that transformers writes."""

from solu_model.config import SoluConfig


def model_card(config: SoluConfig) -> str:
    """Return a model card, as Markdown: the shape of the model and how to open it."""
    c = config
    norm = "an RMS norm" if c.final_rms else "a LayerNorm"
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags:
- solu
---

# A transformer with {c.act_fn} neurons

- {c.n_layers} layers of {c.d_mlp} neurons, d_model {c.d_model}, {c.n_heads} heads of {c.d_head}
- act_fn `{c.act_fn}` over {c.n_mlp_blocks} blocks of neurons, {norm} before the unembedding
- {c.d_vocab} tokens, contexts of up to {c.n_ctx} tokens, BOS (token {c.bos_token_id}) first

See *Softmax Linear Units* (Transformer Circuits, 2022).

transformers knows this architecture after `import solu_model` (SoLU Explorer):

```python
import solu_model
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path or name of this model")
tokenizer = AutoTokenizer.from_pretrained("path or name of this model")
tokens = tokenizer("the lamp was lit", return_tensors="pt").input_ids
logits, acts = model.run_with_cache(tokens, ["blocks.0.mlp.hook_post"])
```
"""
