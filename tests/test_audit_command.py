"""``weightinit audit`` of models in files: families, shards, forms of the report, exit statuses."""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from weightinit.__main__ import main
from weightinit.arrays import Array
from weightinit.auditing.named_models import model_of_arrays

CONFIG = {"model_type": "gpt2", "n_layer": 2, "initializer_range": 0.02, "vocab_size": 120}


def gpt2_arrays(residual: float = 0.02 / math.sqrt(4)) -> dict[str, Array]:
    """A GPT-2 of two blocks as its checkpoint holds it."""
    rng = np.random.default_rng(0)

    def normal(*shape: int, std: float = 0.02) -> Array:
        return rng.normal(0, std, shape).astype(np.float32)

    arrays = {"wte.weight": normal(120, 48), "wpe.weight": normal(32, 48)}
    for block in ("h.0", "h.1"):
        for name, inputs, outputs in (("attn.c_attn", 48, 144), ("attn.c_proj", 48, 48), ("mlp.c_fc", 48, 192),
                                      ("mlp.c_proj", 192, 48)):  # fmt: skip
            arrays[f"{block}.{name}.weight"] = normal(inputs, outputs, std=residual if "c_proj" in name else 0.02)
            arrays[f"{block}.{name}.bias"] = np.zeros(outputs, np.float32)
        for norm in ("ln_1", "ln_2"):
            arrays[f"{block}.{norm}.weight"] = np.ones(48, np.float32)
            arrays[f"{block}.{norm}.bias"] = np.zeros(48, np.float32)
        arrays[f"{block}.attn.bias"] = np.tril(np.ones((1, 1, 32, 32), np.float32))
    arrays["lm_head.weight"] = arrays["wte.weight"]
    return arrays


def write_safetensors(path: Path, arrays: dict[str, Array]) -> None:
    header, data, end = {}, [], 0
    for name, x in arrays.items():
        data.append(x.tobytes())
        header[name] = {"dtype": "F32", "shape": x.shape, "data_offsets": [end, end := end + x.nbytes]}
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(data))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A right model in two shards with its index and configuration, and one without residual scaling."""
    folder = tmp_path_factory.mktemp("model")
    names = list(arrays := gpt2_arrays())
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    weight_map = {}
    for number, half in enumerate(halves, 1):
        file = f"model-{number:05}-of-00002.safetensors"
        write_safetensors(folder / file, {name: arrays[name] for name in half})
        weight_map |= dict.fromkeys(half, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    np.savez(folder / "unscaled.npz", **gpt2_arrays(0.02))
    return folder


def test_a_sharded_model_is_audited_as_its_family(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(folder / "config.json")
    for file in (folder, folder / "model.safetensors.index.json"):
        assert main(["audit", str(file), "--as", "gpt2", "--config", config]) == 0
        assert "by the laws of gpt2" in " ".join(capsys.readouterr().out.split())
    assert main(["audit", str(folder), "--config", config]) == 0  # the configuration names the family


def test_a_fault_has_status_1_and_its_cause_in_every_form(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["audit", str(folder / "unscaled.npz"), "--as", "gpt2", "--config", str(folder / "config.json")]
    cause = r"std \.0\d+, expected \.0100 = \.02/sqrt\(2\*2\): residual scaling not applied"
    assert main(line) == 1
    text = capsys.readouterr().out
    assert re.search(r"h\.\*\.mlp\.c_proj\.weight \(2\): " + cause, " ".join(text.split()))
    assert "…" not in text
    assert main([*line, "--format", "json"]) == 1
    assert re.search(cause, json.loads(capsys.readouterr().out)["findings"][0]["sentence"])
    assert main([*line, "--format", "markdown"]) == 1
    assert "- **fault** `h.*.attn.c_proj.weight (2)`: std" in capsys.readouterr().out


def test_names_are_whole_where_the_output_is_piped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "transformer.encoder.layers.11.self_attention.out_proj.weight"
    np.savez(tmp_path / "long.npz", **{name: np.random.default_rng(0).normal(0, 0.1, (20, 30))})
    assert main(["audit", str(tmp_path / "long.npz")]) == 0
    assert name in capsys.readouterr().out
    assert main(["audit", str(tmp_path / "long.npz"), "--law", "he", "--format", "markdown"]) == 1
    assert f"| `{name}` | 20x30 |" in capsys.readouterr().out


def test_names_tell_roles_axes_ties_and_buffers() -> None:
    model = model_of_arrays(gpt2_arrays(), "gpt2", CONFIG)
    assert "h.0.attn.bias" not in {tensor.name for tensor in model}
    assert model["lm_head.weight"].name == "wte.weight"
    assert (model["wte.weight"].role, model["wte.weight"].used_as) == ("embedding", ("dense",))
    assert model["h.1.mlp.c_fc.weight"].laid_out == (48, 192)
    assert model["h.1.mlp.c_fc.bias"].fans == (48, 192)
    assert model["h.1.ln_2.weight"].role == "gain"
    depthwise = model_of_arrays({"dw.weight": np.ones((8, 1, 3, 3), np.float32)})["dw.weight"]
    assert (depthwise.role, depthwise.groups, depthwise.fans) == ("convolution", 8, (9, 9))


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("{", "is no index"),
        ('{"weight_map": {"a": "../other.safetensors"}}', "outside its own folder"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "can't read"),
    ],
)
def test_a_broken_index_is_one_sentence(
    tmp_path: Path, index: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert main(["audit", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_without_pytorch_its_adapter_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("weightinit.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"needs PyTorch, .* pip install 'weightinit\[torch\]'\.$"):
        importlib.import_module("weightinit.torch")
    assert main(["audit", "model.pt"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
