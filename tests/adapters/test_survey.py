"""The survey: small models of transformers are built, their faults found, and the record goes on where it stopped."""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import transformers

from weightinit.__main__ import main
from weightinit.torch import survey
from weightinit.torch.survey_models import reduced, small_model

TYPES = ["bert", "gpt2", "openai-gpt", "mobilevit", "blip_text_model"]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    record = tmp_path_factory.mktemp("survey") / "record.jsonl"
    found = survey.survey(record, TYPES)
    assert survey.survey(record, TYPES) == found == survey.read_records(record)
    return {each["type"]: each for each in found}


@pytest.mark.parametrize("model_type", ["bert", "gpt2"])
def test_right_models_have_nothing_to_report(records: dict[str, dict[str, Any]], model_type: str) -> None:
    found = records[model_type]
    assert survey.text(found).endswith("nothing found")
    assert abs(found["signal"]["above"]) < 0.5
    assert found["scale"]["drawn"] > 8
    assert found["meta"] == {"unwritten": 0, "unwritten_groups": [], "other": 0, "other_groups": []}


def test_norms_that_were_drawn_are_found_with_their_cost(records: dict[str, dict[str, Any]]) -> None:
    said = survey.text(records["mobilevit"])
    assert "expected 1 everywhere: it was drawn" in said
    assert "mobilevit.conv_stem.normalization.weight" in said


def test_a_scale_that_is_ignored_is_found(records: dict[str, dict[str, Any]]) -> None:
    scale = records["openai-gpt"]["scale"]
    assert "transformer.h.*.attn.c_attn.weight" in scale["groups"]
    assert 0 < scale["deaf"] < scale["drawn"]


def test_a_part_without_a_model_is_listed_with_its_cause(records: dict[str, dict[str, Any]]) -> None:
    assert "no model class" in records["blip_text_model"]["failed"]
    assert "no model class" in survey.page(list(records.values()), 822, "transformers")


def crash(name: str, to: Connection) -> None:
    if name == "bert":
        raise SystemExit(3)
    to.send({"failed": "refused"})


def test_a_crash_costs_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "_send", crash)
    found = survey.survey(tmp_path / "record.jsonl", ["bert", "gpt2"])
    assert [each["failed"] for each in found] == ["its process ended with status 3", "refused"]


def test_memory_never_written_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from weightinit.torch.survey_checks import meta_way

    small = small_model("bert")
    model = small.build()
    assert not meta_way(small, model)["unwritten"]
    monkeypatch.setattr(transformers.BertPreTrainedModel, "_init_weights", lambda self, module: None)
    assert meta_way(small, model)["unwritten"] == len(dict(model.named_parameters()))


def test_sizes_are_divided_and_ratios_stay() -> None:
    values = {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 4, "layer_types": ["a", "a", "b", "b"],
        "vocab_size": 30000, "pad_token_id": 29999, "image_size": 224, "parts": {"model_type": "x", "d_model": 64},
    }  # fmt: skip
    found = reduced(values, 16)
    assert found["intermediate_size"] == 4 * found["hidden_size"] == 192
    assert found["layer_types"] == ["a", "a"]
    assert found["pad_token_id"] < found["vocab_size"] == 600
    assert (found["image_size"], found["parts"]["d_model"]) == (224, 4)
    assert reduced(values, 16, None)["num_hidden_layers"] == 4


def test_the_command_prints_types_and_names_mistakes(
    tmp_path: Path, records: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    record, page = tmp_path / "record.jsonl", tmp_path / "page.md"
    record.write_text("".join(json.dumps(each) + "\n" for each in records.values()) + '{"type": "broken')
    options = ["survey", "transformers", "--record", str(record), "--page", str(page), "--minutes", "0"]
    assert main([*options, "--types", "gpt2"]) == 0
    assert capsys.readouterr().out == "gpt2 (GPT2LMHeadModel): nothing found\n"
    assert main(options) == 0
    assert "| mobilevit | MobileViTForImageClassification |" in page.read_text(encoding="utf-8")
    assert main([*options, "--types", "gpt3"]) == 2
    assert "'gpt3' is no model type" in capsys.readouterr().err
