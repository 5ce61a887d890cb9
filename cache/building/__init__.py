"""Build a cache from a model and a text, on one machine or on a Ray cluster.

The way of a token from the command line to a counter:

1. `cache/commands/build.py`: `build` turns the command's options into `Options` and calls
2. `build.py`: `build_cache` loads the model (`Engine`), reads the text (`read_corpus`) and writes the cache
   (`cache/writing/`). `read_corpus` submits one document after another to
3. `workers.py`: `DocumentWorkers`. One of its threads cuts the document into contexts (`_read_document`),
   prepares their tokens, and for each batch of contexts calls
4. `engine.py`: `Engine.run`, one forward pass. As the pass reaches a hook, the model calls a `LayerVisitor`
   (`workers.py`), which passes the activations of each context and layer to
5. `cache/statistics/accumulator.py`: `CpuAccumulator.add`, which calls the compiled loops:
   `scan_kernels` (histograms, sums, extremes), `sample_kernels` and `example_kernels` (samples, strongest
   and weakest examples) and `token_kernels` (totals by token). On a GPU: `cache/device/accumulator.py`.

The statistics of all layers are in one `cache.shards.state.BuildState`, which is saved every few minutes.
"""
