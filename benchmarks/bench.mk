# Speed of the activation and of a training step with it; results and drawings in benchmarks/results/.
# About 9 minutes on two CPU cores, which nobody else should use meanwhile: 2, 3 and 4.

.PHONY: bench

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_activation.py
	$(BIN)/python benchmarks/bench_activation.py --dtype bfloat16
	$(BIN)/python benchmarks/bench_training_step.py

# Building and reading a cache: TEXT is a corpus, CACHE a cache of the present format; TransformerLens beside them
# where `make .venv-oracle/installed` was run. TOKENIZER, where given, is in place of the bundled one: the published
# models' has 50,281 tokens. About 20 minutes, which nobody else should use meanwhile.
.PHONY: bench-cache
bench-cache: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_cache.py $(TEXT) --layers 1 --warm 120 $(addprefix --tokenizer ,$(TOKENIZER))
	$(BIN)/python benchmarks/bench_cache.py $(TEXT) --layers 4 --warm 330 $(addprefix --tokenizer ,$(TOKENIZER))
	$(BIN)/python benchmarks/bench_cache_read.py $(CACHE)

# `solu train` beside a plain loop over TEXT; about 7 minutes.
.PHONY: bench-training
bench-training: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_training.py --data $(TEXT)

# Whether one run in every layout of processes, killed and resumed, is the same run; about 3 minutes.
.PHONY: bench-parallel
bench-parallel: $(VENV)/.dev
	$(BIN)/python benchmarks/parallel_training.py --data $(TEXT)

# How long a person waits, over the bundled model; about 15 minutes, most of it the memory over 2,000 neurons.
.PHONY: bench-dashboard
bench-dashboard: $(VENV)/.dev chromium
	$(BIN)/python benchmarks/bench_dashboard.py
	$(BIN)/python benchmarks/bench_neuron_list.py
	$(BIN)/python benchmarks/bench_editor.py
	$(BIN)/python benchmarks/bench_lab.py

# Whether anything that a rater's browser gets tells the model: about 3 minutes.
.PHONY: bench-blindness
bench-blindness: $(VENV)/.dev chromium
	$(BIN)/python benchmarks/blindness.py $(MODELS)
