"""Measures of a trained model.

- `held_out_loss`: loss on text, per token and per byte.
- `losses`: these losses by source, and their file `evaluation.json`.
- `multiplier`: the effective model-size multiplier of the paper's Figure 1.
- `tasks/`: the tasks of the paper's Figure 2, run by lm-eval.
"""
