# Speed of the activation and of a training step with it; results and drawings in benchmarks/results/.
# About 9 minutes on two CPU cores, which nobody else should use meanwhile: 2, 3 and 4.

.PHONY: bench

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_activation.py
	$(BIN)/python benchmarks/bench_activation.py --dtype bfloat16
	$(BIN)/python benchmarks/bench_training_step.py
