# transformers' own model tests with our model. They are downloaded once for each version of transformers; SOURCE is a
# checkout of its repository at that version, which also has the tests of generation.

TRANSFORMERS_TESTS := .transformers-tests

$(TRANSFORMERS_TESTS)/installed: requirements.txt tests/transformers_common/fetch_tests.py | $(VENV)/.dev
	$(PIP) --target $(TRANSFORMERS_TESTS) --upgrade "parameterized>=0.9,<1"
	$(BIN)/python tests/transformers_common/fetch_tests.py $(TRANSFORMERS_TESTS) $(addprefix --source ,$(SOURCE))
	touch $@

.PHONY: test-transformers
test-transformers: $(TRANSFORMERS_TESTS)/installed
	PYTHONPATH=.:$(TRANSFORMERS_TESTS) $(BIN)/python tests/transformers_common/run_common_tests.py
