"""Page of the models: a card for each, comparisons of their losses and tasks, and builds of caches.

page.py            the cards
build_section.py   part of a card that builds a cache
build_jobs.py      build processes, which outlive page and server
comparisons.py     loss curves, losses by source and tasks of all models
loss_charts.py, task_charts.py   their figures
service.py         their data
"""
