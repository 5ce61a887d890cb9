# Our models compared with HookedTransformer, in a separate environment: TransformerLens 2 needs numpy 1
# and transformers 4. torch is installed first, so that both sides use the same version.

ORACLE_PYTHON ?= $(shell command -v python3.11 || command -v python3)
OURS ?= .venv/bin/python

.venv-oracle/installed: tests/oracle/requirements.txt
	$(ORACLE_PYTHON) -m venv .venv-oracle
	.venv-oracle/bin/pip install --quiet torch==2.13.0
	.venv-oracle/bin/pip install --quiet -r tests/oracle/requirements.txt
	touch $@

.PHONY: test-oracle golden
test-oracle: .venv-oracle/installed ## logits and activations of every layout against HookedTransformer
	.venv-oracle/bin/python tests/oracle/run_hooked_transformer.py .venv-oracle/out --real SoLU_1L512W_C4_Code SoLU_2L_v10_old > .venv-oracle/log
	PYTHONPATH=. $(OURS) tests/oracle/compare.py .venv-oracle/out

golden: test-oracle ## store HookedTransformer's results for the ordinary tests
	PYTHONPATH=. $(OURS) tests/oracle/compare.py .venv-oracle/out --write-golden tests/golden/transformerlens.safetensors
