"""transformers' common model tests with `SoluForCausalLM`: `make test-transformers`.

The folder that `fetch_tests.py` wrote must be on PYTHONPATH. Tests that do not apply are overridden below,
each with its reason. Others skip themselves and say why; docs/transformers.md sums that up.
"""

import os
import unittest
from typing import Any

import pytest
import torch
from torch import nn
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

    def assertRaisesRegex(self, expected_exception: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N802
        """Compare the class of an error alone: the words are ours."""
        return pytest.raises(expected_exception)

    @unittest.skip("a model is one class: there is no base model inside one with a head")
    def test_model_base_model_prefix(self) -> None:
        pass

    def test_model_get_set_embeddings(self) -> None:
        """As the common test, which wants an nn.Embedding: ours is `Embed`, whose parameter is W_E.

        A module that is set gives its weight, so that names in checkpoints stay.
        """
        model = SoluForCausalLM(self.model_tester.get_config())
        assert model.get_input_embeddings().weight is model.embed.W_E
        new = nn.Embedding(99, 32)
        model.set_input_embeddings(new)
        assert model.get_input_embeddings().weight is new.weight
        assert torch.equal(model.get_output_embeddings().weight, model.unembed.W_U.T)


if __name__ == "__main__":
    options = ["-c", os.devnull, "-q", "-rs", "-p", "no:cacheprovider", "--tb", "short"]
    raise SystemExit(pytest.main([__file__, *options, "-W", "ignore::pytest.PytestUnknownMarkWarning"]))
