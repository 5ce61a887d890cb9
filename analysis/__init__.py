"""What numbers say of neurons: pure functions, for the pages and for notebooks. No Streamlit."""
