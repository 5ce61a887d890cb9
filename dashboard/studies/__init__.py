"""Blinded rating studies: people rate neurons without knowing the model.

`page` lists the studies, `study_page` and `results` show one, and `rate_page` is for raters. `plan` draws the
neurons and makes the cards, `storage` saves studies and ratings; neither imports Streamlit or torch.
"""
