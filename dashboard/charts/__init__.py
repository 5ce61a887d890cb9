"""Figures in plotly, for pages where a step may take 0.1 s. They take arrays and know no cache."""
