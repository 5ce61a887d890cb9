"""Blinded rating studies: design, sealed key, cards, ratings. No Streamlit, no torch."""
