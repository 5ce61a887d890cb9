"""A corpus as it is found: files, folders and data sets of a hub, read into documents.

`files.py` finds the files of a path; `lines.py` and `tables.py` read them, through `streams.py`; `hub.py`
reads a data set of a hub; `identity.py` tells whether a corpus is still the same; `survey.py` describes one.
The front is `solu_model.text.documents`.
"""
