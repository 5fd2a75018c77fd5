"""CLIP's text tower: equal to the one of transformers on equal weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import segmote_reference as reference
import torch

from MoESegLib.core.errors import PromptError
from MoESegLib.models.segmote.released_weights import convert_segmote_state_dict
from MoESegLib.models.text.clip_text import END_OF_TEXT, CLIPTextModel

START_OF_TEXT = 49406
SENTENCES = torch.tensor(
    [
        [START_OF_TEXT, 320, 12121, 2445, 539, 320, 10778, 269, END_OF_TEXT],
        [START_OF_TEXT, 320, 12121, 7494, END_OF_TEXT, END_OF_TEXT, END_OF_TEXT, END_OF_TEXT, END_OF_TEXT],
    ]
)
PADDING = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with reference.one_thread():
        yield


@pytest.fixture(scope="module")
def tower() -> CLIPTextModel:
    built = CLIPTextModel().eval()
    with torch.no_grad():
        reference.fill(built, "text_model.")
    return built


def test_it_reads_as_the_tower_of_transformers_does(tower: CLIPTextModel) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPTextModel(transformers.CLIPTextConfig()).eval()
    with torch.no_grad():
        reference.fill(theirs, "theirs.")
    saved = {f"text_model.{key}": value for key, value in theirs.state_dict().items()}
    state = {key.removeprefix("text_model."): value for key, value in convert_segmote_state_dict(saved).items()}
    with torch.device("meta"):
        ours = CLIPTextModel().eval()
    ours.load_state_dict(state, strict=True, assign=True)
    with torch.inference_mode():
        for mask in (None, PADDING):
            expected = theirs(input_ids=SENTENCES, attention_mask=mask)
            answer = ours(SENTENCES, mask)
            torch.testing.assert_close(answer.pooler_output, expected.pooler_output, rtol=0, atol=1e-5)
            torch.testing.assert_close(answer.last_hidden_state, expected.last_hidden_state, rtol=0, atol=1e-5)


def test_it_has_the_parameters_of_vit_b_32(tower: CLIPTextModel) -> None:
    assert sum(parameter.numel() for parameter in tower.parameters()) == 63_165_952


def test_padding_does_not_change_what_a_sentence_means(tower: CLIPTextModel) -> None:
    with torch.inference_mode():
        padded = tower(SENTENCES, PADDING).pooler_output
        alone = tower(SENTENCES[1:, :5]).pooler_output
    torch.testing.assert_close(padded[1:], alone, rtol=0, atol=1e-5)
    assert not torch.allclose(padded[0], padded[1], atol=0.1)


def test_a_sentence_that_is_too_long_is_refused(tower: CLIPTextModel) -> None:
    with pytest.raises(PromptError, match="78 tokens; at most 77"):
        tower(torch.zeros(1, 78, dtype=torch.long))
