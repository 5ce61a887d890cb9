"""The page of labels: search, export and import the labels, notes, stars and verdicts of everyone."""
