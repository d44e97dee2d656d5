"""Checkpoints of PyTorch in the shell: read without running what they hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from tests.adapters.models import CONTROLS
from weightinit.__main__ import main
from weightinit.torch.checkpoints import read_checkpoint


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama", "vit", "whisper", "mamba", "mamba2", "t5", "convnext"])
def test_a_family_is_audited_from_its_files_as_from_its_model(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CONTROLS[family]()
    model.save_pretrained(tmp_path)
    config = str(tmp_path / "config.json")
    assert main(["audit", str(tmp_path / "model.safetensors"), "--as", family]) == 0  # by the config.json beside it
    torch.save({"state_dict": model.state_dict(), "step": 0}, tmp_path / "model.ckpt")
    assert main(["audit", str(tmp_path / "model.ckpt"), "--config", config]) == 0


def test_a_checkpoint_that_would_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Harmful()}, "model.pt")
    assert main(["audit", "model.pt"]) == 2
    assert "can't be read with weights_only, which runs no code of the file: it holds posix.system." in (
        capsys.readouterr().err
    )
    assert not Path("harmed").exists()
    Path("broken.pt").write_bytes(b"no checkpoint")
    assert main(["audit", "broken.pt"]) == 2
    torch.save({"step": 3}, "empty.pt")
    assert main(["audit", "empty.pt"]) == 2
    assert main(["audit", "nowhere.pt"]) == 2
    torch.save({"generator": {"w": torch.ones(2)}, "discriminator": {"w": torch.ones(2)}}, "two.pt")
    assert main(["audit", "two.pt"]) == 2
    Path("nothing.pt").touch()
    assert main(["audit", "nothing.pt"]) == 2
    broken, empty, nowhere, two, nothing = capsys.readouterr().err.splitlines()
    assert broken.startswith("error: broken.pt is no checkpoint of PyTorch, or a broken one")
    assert "it holds a mapping of step" in empty
    assert nowhere.startswith("error: can't read nowhere.pt")
    assert "it holds a mapping of generator, discriminator" in two
    assert "nothing.pt is empty" in nothing


def test_a_state_is_found_below_other_keys_and_in_nothing_that_an_optimizer_keeps(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    kept = {"ema": {"model": {"state_dict": model.state_dict()}}, "optimizer": optimizer.state_dict(), "step": 1}
    torch.save(kept, tmp_path / "model.pt")
    assert sorted(read_checkpoint(tmp_path / "model.pt")) == ["bias", "weight"]


def test_a_bfloat16_file_of_a_fault_has_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=2, n_embd=64, n_head=4, vocab_size=300))
    for block in model.transformer.h:
        torch.nn.init.normal_(block.mlp.c_proj.weight, std=0.02)
    state = {name: value.to(torch.bfloat16).contiguous().clone() for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()))
    line = ["audit", str(tmp_path / "model.safetensors"), "--config", str(tmp_path / "config.json"), "--format", "json"]
    assert main(line) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [each["sentence"].rpartition(": ")[2] for each in found] == ["residual scaling not applied"]
    assert main(["audit", str(tmp_path), "--config", str(tmp_path)]) == 1
    capsys.readouterr()
    assert main([*line, "--as", "t5"]) == 2
    assert "--as says 't5', the configuration's model_type is 'gpt2'" in capsys.readouterr().err
