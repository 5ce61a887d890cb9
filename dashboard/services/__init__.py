"""What pages ask for, kept between runs: every `st.cache_*` of the app is in here."""
