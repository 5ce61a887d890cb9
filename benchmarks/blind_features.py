"""Features of what a rater's browser receives, and how well classifiers separate two models by them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Matrix = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

N_STEPS = 16


def around(exchanges: Sequence[dict[str, Any]]) -> Matrix:
    """Return features of a card besides texts and steps: sizes, times, headers, frames, name."""
    rows = []
    for e in exchanges:
        digits = [int(c, 16) for c in e["card"]["item"]]
        snippets = e["card"]["snippets"]
        rows.append(
            [
                e["body_bytes"], e["head_bytes"], e["header_bytes"], e["n_headers"], e["status"],
                e["ms_to_first_byte"], e["ms_to_last_byte"], e["ms_to_paint"],
                e["n_frames"], e["frame_bytes"], e["n_requests"], e["number"],
                len(snippets), sum(len(s["t"]) for s in snippets), sum(len(s["s"]) for s in snippets),
                len(e["card"]), len(snippets[0]), len(digits), sum(digits), *digits,
            ]
        )  # fmt: skip
    return np.array(rows, dtype=np.float64)


def steps_of(cards: Sequence[dict[str, Any]]) -> Steps:
    """Return the shading steps `[n_cards, n_snippets, n_tokens]`."""
    return np.array([[snippet["s"] for snippet in card["snippets"]] for card in cards])


def shading(steps: Steps) -> Matrix:
    """Return features of the shading alone: share of each step, strongest and mean step of every snippet."""
    shares = np.stack([(steps == k).mean((1, 2)) for k in range(N_STEPS)], 1)
    spread = np.stack([steps.mean((1, 2)), steps.std((1, 2))], 1)
    return np.concatenate([shares, np.sort(steps.max(2), 1), steps.mean(1), spread], 1)


def text(cards: Sequence[dict[str, Any]]) -> Matrix:
    """Return features of the text alone."""
    rows = []
    for card in cards:
        texts = ["".join(snippet["t"]) for snippet in card["snippets"]]
        sizes = [len(t) for t in texts]
        letters = [sum(c.isalpha() for c in t) / max(1, len(t)) for t in texts]
        blanks = [t.count(" ") for t in texts]
        lines = [t.count("\n") for t in texts]
        rows.append([np.mean(sizes), np.std(sizes), np.mean(letters), np.mean(blanks), np.mean(lines)])
    return np.array(rows, dtype=np.float64)


def area(features: Matrix, sides: npt.NDArray[np.int64], trees: bool = False, seed: int = 0) -> float:
    """Return the cross-validated area under the ROC curve of a classifier; 0.5 is chance."""
    model = (
        ExtraTreesClassifier(100, random_state=seed)
        if trees
        else make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    said = cross_val_predict(model, features, sides, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(sides, said))


def against_chance(
    features: Matrix, sides: npt.NDArray[np.int64], trees: bool = False, n: int = 200
) -> dict[str, Any]:
    """Return the area, that of `n` shuffles of the sides, and `p`, the share of these at least as large."""
    chance = np.random.default_rng(0)
    found = area(features, sides, trees)
    shuffled = np.array([area(features, chance.permutation(sides), trees) for _ in range(n)])
    return {
        "auc": round(found, 3),
        "auc_by_chance_95": round(float(np.quantile(shuffled, 0.95)), 3),
        "p": round(float((1 + (shuffled >= found).sum()) / (n + 1)), 4),
        "n_shuffled": n,
    }
