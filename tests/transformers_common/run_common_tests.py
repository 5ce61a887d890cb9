"""transformers' common model tests with `SoluForCausalLM`: `make test-transformers`.

The folder that `fetch_tests.py` wrote must be on PYTHONPATH. Tests that do not apply are overridden below,
each with its reason; those that transformers itself skips, for instance without a GPU, are its own affair.
"""

import unittest

import pytest
import torch
from transformers.testing_utils import torch_device
from transformers_tests.generation.test_utils import GenerationTesterMixin
from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.test_modeling_common import ModelTesterMixin, ids_tensor, random_attention_mask

from solu_model import SoluConfig, SoluForCausalLM


class SoluModelTester:
    """A small model and inputs, with the attributes that the common tests read."""

    is_training = True
    seq_length = 7
    batch_size = 3
    num_hidden_layers = 2
    num_attention_heads = 4
    hidden_size = 32
    vocab_size = 99

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent

    def get_config(self) -> SoluConfig:
        return SoluConfig(
            d_vocab=self.vocab_size,
            n_ctx=64,
            d_model=self.hidden_size,
            n_layers=self.num_hidden_layers,
            n_heads=self.num_attention_heads,
            d_head=8,
            d_mlp=37,
            pad_token_id=98,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[SoluConfig, dict[str, torch.Tensor]]:
        input_ids = ids_tensor([self.batch_size, self.seq_length], self.vocab_size)
        mask = random_attention_mask([self.batch_size, self.seq_length])
        return self.get_config(), {"input_ids": input_ids, "attention_mask": mask.to(torch_device)}


class SoluModelTest(ModelTesterMixin, GenerationTesterMixin, unittest.TestCase):
    all_model_classes = (SoluForCausalLM,)
    all_generative_model_classes = (SoluForCausalLM,)
    pipeline_model_mapping = {"text-generation": SoluForCausalLM}

    def setUp(self) -> None:
        self.model_tester = SoluModelTester(self)
        self.config_tester = ConfigTester(self, config_class=SoluConfig, d_model=32, n_heads=4)

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "-p", "no:cacheprovider"]))
