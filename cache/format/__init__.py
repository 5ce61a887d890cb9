"""The files of a cache and their contents, with numpy and pyarrow alone."""
