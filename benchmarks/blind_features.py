"""Whether what a rater's browser gets tells the model: features of it, and how well they separate two."""

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
    """What comes with a card, apart from its texts and steps: sizes, times, headers, frames, the name."""
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
    """`[n_cards, n_snippets, n_tokens]`."""
    return np.array([[snippet["s"] for snippet in card["snippets"]] for card in cards])


def shading(steps: Steps) -> Matrix:
    """How red a card is, whatever its text: the share of each step, every snippet's strongest and mean."""
    shares = np.stack([(steps == k).mean((1, 2)) for k in range(N_STEPS)], 1)
    spread = np.stack([steps.mean((1, 2)), steps.std((1, 2))], 1)
    return np.concatenate([shares, np.sort(steps.max(2), 1), steps.mean(1), spread], 1)


def text(cards: Sequence[dict[str, Any]]) -> Matrix:
    """What kind of text a card has, whatever its shading."""
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
    """Area under the ROC curve of a classifier on cards that it was not trained on; 0.5 is chance."""
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
    """The area, and the same where the sides are shuffled `n` times: `p` is the share at least as large."""
    chance = np.random.default_rng(0)
    found = area(features, sides, trees)
    shuffled = np.array([area(features, chance.permutation(sides), trees) for _ in range(n)])
    return {
        "auc": round(found, 3),
        "auc_by_chance_95": round(float(np.quantile(shuffled, 0.95)), 3),
        "p": round(float((1 + (shuffled >= found).sum()) / (n + 1)), 4),
        "n_shuffled": n,
    }
