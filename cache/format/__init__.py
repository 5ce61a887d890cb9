"""What the files of a cache say, and reading them: numpy and pyarrow alone."""
