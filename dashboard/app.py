"""The dashboard's entry: `solu dashboard`, or `streamlit run dashboard/app.py`."""

from pathlib import Path

import streamlit as st

from dashboard.routes import routes

app = st.App(Path(__file__).with_name("pages.py"), routes=routes())
