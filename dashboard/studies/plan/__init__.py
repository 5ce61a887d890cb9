"""The plan of a study: design, drawn neurons, attention checks, cards and sealed key. No Streamlit."""
