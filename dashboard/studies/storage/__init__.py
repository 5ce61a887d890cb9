"""Studies and ratings in the database, and as files. No Streamlit."""
