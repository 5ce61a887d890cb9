"""The page of labels: search, export and import of what people say of neurons."""
