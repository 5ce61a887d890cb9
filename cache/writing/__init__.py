"""A state as the files of a cache; whole contexts put into one, a smaller copy cut from one."""
