"""Only what should train does; padding changes neither frames nor gradients; wrong choices are refused."""

import numpy as np
import pytest
import torch
from encoders import FAMILIES, options, tuned, write_encoder

from soctk.errors import SoctkError
from soctk.features import upstream
from soctk.features.extract import Extraction
from soctk.features.upstream.huggingface import HuggingFaceUpstream
from soctk.finetuning import encoder as encoders
from soctk.finetuning.encoder import TunedEncoder, load, write_changed

TUNES = ("lora", "top:1", "all")


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoders") / request.param, request.param)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoders") / "whisper", "whisper")


def noises(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, length).astype(np.float32) for length in lengths]


def frames(encoder: TunedEncoder, waveforms) -> list[torch.Tensor]:
    return encoder.states(encoder.front_end(waveforms))


def step(encoder: TunedEncoder) -> None:
    """Do two steps of gradient descent: LoRA's first step changes only one of its two matrices."""
    for _ in range(2):
        for weight in encoder.trained.values():
            weight.grad = None
        sum(state.square().sum() for state in frames(encoder, noises(6000, 9000))).backward()
        with torch.no_grad():
            for weight in encoder.trained.values():
                weight -= 0.01 * weight.grad / weight.grad.norm().clamp(min=1e-9)


@pytest.mark.parametrize("tune", TUNES)
def test_before_training_the_frames_are_those_of_the_frozen_encoder(folder, tune):
    waveforms = noises(6000, 9000)
    expected = upstream.load(str(folder)).hidden_states(waveforms, [1, 2])
    for ours, theirs in zip(frames(tuned(folder, tune), waveforms), expected, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tune", TUNES)
def test_only_the_chosen_parameters_change(folder, tune):
    encoder, before = tuned(folder, tune), load(Extraction(str(folder))).model.state_dict()
    step(encoder)
    changed = encoder.changed()
    differ = {name for name, tensor in changed.items() if not torch.equal(tensor, before[name])}
    assert differ == changed.keys()
    # Hidden states 1 and 2 do not depend on the third transformer layer.
    prefix = "layers" if folder.name == "whisper" else "encoder.layers"
    linear = {
        "whisper": ("fc1", "fc2"),
        "other": ("feed_forward.intermediate_dense", "feed_forward.output_dense"),
    }["whisper" if folder.name == "whisper" else "other"]
    if tune == "lora":
        assert differ == {f"{prefix}.{i}.{name}.weight" for i in range(2) for name in linear}
        for name in differ:
            assert torch.linalg.matrix_rank(changed[name] - before[name], rtol=1e-3) <= options("lora").lora_rank
    elif tune == "top:1":
        expected = {name for name in before if name.startswith(f"{prefix}.1.")}
        assert differ == expected
    else:
        unused = {name for name in before if name.startswith((f"{prefix}.2.", "masked_spec_embed"))}
        assert differ.isdisjoint(unused)
        parts = ("conv1", "conv2") if folder.name == "whisper" else ("feature_extractor", "feature_projection")
        for part in (*parts, f"{prefix}.0", f"{prefix}.1"):
            assert any(name.startswith(part) for name in differ)
        assert "embed_positions.weight" not in differ  # whisper's sinusoids are not trained


@pytest.mark.parametrize("tune", TUNES)
def test_a_batch_gives_the_frames_and_gradients_of_its_utterances_alone(folder, tune):
    waveforms = noises(5000, 9000, 16000)
    together, alone = tuned(folder, tune, "finetune.lora_rank=2"), tuned(folder, tune, "finetune.lora_rank=2")
    for encoder in (together, alone):  # LoRA starts with a matrix of zeros, which hides the gradient of the other one
        with torch.no_grad():
            for i, weight in enumerate(encoder.trained.values()):
                weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(i))
    in_batch = frames(together, waveforms)
    one_by_one = [frames(alone, [waveform])[0] for waveform in waveforms]
    for ours, theirs in zip(in_batch, one_by_one, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    for states in (in_batch, one_by_one):
        sum(state.sin().sum() for state in states).backward()
    expected = alone.trained
    assert together.trained.keys() == expected.keys()
    for name, weight in together.trained.items():
        scale = float(expected[name].grad.abs().max())
        torch.testing.assert_close(weight.grad, expected[name].grad, atol=1e-4 * max(1, scale), rtol=1e-3)


def test_gradient_checkpointing_gives_the_same_gradients(folder):
    plain, saving = tuned(folder, "all"), tuned(folder, "all", "finetune.checkpointing=true")
    for encoder in (plain, saving):
        sum(state.square().sum() for state in frames(encoder, noises(6000, 9000))).backward()
    for name, weight in saving.trained.items():
        torch.testing.assert_close(weight.grad, plain.trained[name].grad)


def test_checkpointing_computes_layers_again(whisper, monkeypatch):
    calls = []
    encoder = tuned(whisper, "top:1", "finetune.checkpointing=true")
    block = encoder._upstream.blocks[1]
    block.fc1.register_forward_hook(lambda *_: calls.append(1))
    sum(state.sum() for state in frames(encoder, noises(6000))).backward()
    assert len(calls) == 2


@pytest.mark.parametrize("tune", TUNES)
def test_a_plain_encoder_with_the_changed_tensors_gives_the_same_frames(folder, tune):
    encoder = tuned(folder, tune)
    step(encoder)
    plain = HuggingFaceUpstream(str(folder), "cpu", "float32", is_frozen=False)
    write_changed(plain.model, encoder.changed())
    with torch.no_grad():
        ours = frames(encoder, noises(9000))[0]
        torch.testing.assert_close(plain.hidden_states(noises(9000), [1, 2])[0], ours, atol=1e-4, rtol=1e-4)
        before = upstream.load(str(folder)).hidden_states(noises(9000), [1, 2])[0]
    assert (before - ours).abs().max() > 1e-3


def test_lora_can_be_put_into_some_layers_and_modules(whisper):
    encoder = tuned(whisper, "lora", "finetune.lora_layers=[2]", "finetune.lora_modules=both")
    names = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2")
    assert encoder.changed().keys() == {f"layers.1.{name}.weight" for name in names}


def test_dropout_of_lora_is_off_outside_of_training(whisper):
    encoder = tuned(whisper, "lora", "finetune.lora_dropout=0.5")
    step(encoder)
    with torch.no_grad():
        first, second = (frames(encoder, noises(9000))[0] for _ in range(2))
        assert torch.equal(first, second)
        encoder.train(True)
        assert not torch.equal(frames(encoder, noises(9000))[0], frames(encoder, noises(9000))[0])
        encoder.train(False)
        assert torch.equal(frames(encoder, noises(9000))[0], first)


def message(action) -> str:
    with pytest.raises(SoctkError) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize(
    ("tune", "overrides", "layers", "text"),
    [
        ("top:3", (), (1, 2), "--tune top:3: the hidden states that are used depend on 2 transformer layers only"),
        ("lora", (), (0,), "--tune lora: hidden state 0 is the input of the transformer layers"),
        ("lora", ("finetune.lora_layers=[1, 3]",), (1, 2), "do not depend on transformer layer 3"),
    ],
)
def test_layers_without_influence_are_refused(whisper, tune, overrides, layers, text):
    assert text in message(lambda: tuned(whisper, tune, *overrides, layers=layers))


def test_lora_in_the_attention_of_wavlm_is_refused(tmp_path):
    folder = write_encoder(tmp_path / "wavlm", "wavlm")
    assert "so LoRA would have no effect" in message(lambda: tuned(folder, "lora", "finetune.lora_modules=both"))


@pytest.mark.parametrize("name", ["fbank", "s3prl:mfcc", "egemaps", "soctk.features.upstream:Upstream"])
def test_other_encoders_are_refused(name):
    text = message(lambda: load(Extraction(name)))
    assert text.startswith(f"--upstream {name}: only encoders of Hugging Face transformers can be fine-tuned\n")
    assert "soctk-train" in text


def test_other_families_are_refused(tmp_path, monkeypatch, whisper):
    monkeypatch.setattr(encoders, "FAMILIES", {"hubert": "HuBERT"})
    assert "an encoder of the type whisper cannot be fine-tuned" in message(lambda: load(Extraction(str(whisper))))
    assert "no such directory" in message(lambda: load(Extraction(str(tmp_path / "missing"))))


def test_without_peft_lora_names_the_extra(whisper, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    assert "bin/setup finetune" in message(lambda: tuned(whisper, "lora"))
