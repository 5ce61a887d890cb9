# Speed of the activation and of a training step with it; results and drawings in benchmarks/results/.
# About 15 minutes on two CPU cores, which nobody else should use meanwhile: 3, 3, 4 and 4.

.PHONY: bench

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_activation.py
	$(BIN)/python benchmarks/bench_activation.py --dtype bfloat16
	$(BIN)/python benchmarks/bench_training_step.py
	$(BIN)/python benchmarks/bench_training_step.py --modes compiled --layers 1 4
