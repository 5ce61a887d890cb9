"""What a cache cannot answer: the model runs. `live.py` alone brings torch in, at the first question."""
