"""Components drawn in the browser: each a .py with its data, a .js and a .css."""
