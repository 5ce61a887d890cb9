"""Load and save checkpoints.

- `checkpoints`: `load_checkpoint` and `save_checkpoint`; folders in our format, TransformerLens's, or the
  hub.
- `adapters`: `load_neuron_model`, which also loads other causal models (GPT-2, GPT-NeoX, Llama ...).
- `transformerlens`: read and write TransformerLens's format.
- `exponential_models`: turn a model trained with the exponential form into a SoLU model.
- `hub`: download from the Hugging Face hub. `weight_files`: read tensors without running code.
"""
