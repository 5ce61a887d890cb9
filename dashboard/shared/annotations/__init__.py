"""Labels, notes, stars and verdicts: what they are, where they are kept, how they travel. No Streamlit."""
