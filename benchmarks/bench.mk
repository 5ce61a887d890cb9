# All targets need an otherwise idle machine. Results and charts go to benchmarks/results/.

# Speed of the activation and of a training step. About 9 minutes on two CPU cores (2, 3 and 4).

.PHONY: bench

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_activation.py
	$(BIN)/python benchmarks/bench_activation.py --dtype bfloat16
	$(BIN)/python benchmarks/bench_training_step.py

# Building and reading a cache. TEXT is a corpus, CACHE a cache of the current format. TransformerLens is measured too
# if `make .venv-oracle/installed` has been run. TOKENIZER replaces the bundled tokenizer: that of the published models
# has 50,281 tokens. About 20 minutes.
.PHONY: bench-cache
bench-cache: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_cache.py $(TEXT) --layers 1 --warm 120 $(addprefix --tokenizer ,$(TOKENIZER))
	$(BIN)/python benchmarks/bench_cache.py $(TEXT) --layers 4 --warm 330 $(addprefix --tokenizer ,$(TOKENIZER))
	$(BIN)/python benchmarks/bench_cache_read.py $(CACHE)

# `solu train` compared with a plain training loop over TEXT. About 7 minutes.
.PHONY: bench-training
bench-training: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_training.py --data $(TEXT)

# Check that a run gives the same result in every layout of processes, killed and resumed. About 3 minutes.
.PHONY: bench-parallel
bench-parallel: $(VENV)/.dev
	$(BIN)/python benchmarks/parallel_training.py --data $(TEXT)

# Waiting times on the dashboard's pages, with the bundled model. About 15 minutes, most of them for the memory over
# 2,000 neurons.
.PHONY: bench-dashboard
bench-dashboard: $(VENV)/.dev chromium
	$(BIN)/python benchmarks/bench_dashboard.py
	$(BIN)/python benchmarks/bench_neuron_list.py
	$(BIN)/python benchmarks/bench_editor.py
	$(BIN)/python benchmarks/bench_lab.py

# The pages of this checkout beside those of another, OTHER, in turns: for a busy machine. About 12 minutes.
.PHONY: compare-dashboards
compare-dashboards: $(VENV)/.dev chromium
	$(BIN)/python benchmarks/compare_dashboards.py $(OTHER)

# Check that nothing a rater's browser receives reveals the model. About 3 minutes.
.PHONY: bench-blindness
bench-blindness: $(VENV)/.dev chromium
	$(BIN)/python benchmarks/blindness.py $(MODELS)

# Time and memory of loading a checkpoint, and the table of model families in docs/. About a minute.
.PHONY: bench-loading
bench-loading: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_loading.py
	$(BIN)/python benchmarks/model_families.py
