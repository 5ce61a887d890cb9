"""Annotations and hypotheses: records, the database that holds them, and their stores.

`service` and `open_store` are for the pages. The other modules import no Streamlit.
"""
