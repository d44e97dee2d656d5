import sys
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


class Recorder:
    """What the callbacks use of MLflow."""

    def __init__(self, active=True):
        self.active, self.files, self.tags = active, {}, {}

    def active_run(self):
        return self if self.active else None

    def log_dict(self, content, file):
        self.files[file] = content

    def set_tag(self, key, value):
        self.tags[key] = value


def model(broken=False):
    torch.manual_seed(0)
    built = nn.Sequential(nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 4))
    if broken:
        with torch.no_grad():
            built[2].weight[3] = built[2].weight[4] = built[2].weight[5]
    return built


def lightning_fit(broken, on_fail):
    lightning = pytest.importorskip("lightning.pytorch")
    from weightinit.torch.lightning import InitAudit

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model(broken)

        def training_step(self, batch, _):
            return self.model(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    callback = InitAudit(on_fail=on_fail)
    options = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(max_steps=1, accelerator="cpu", callbacks=[callback], **options)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(4, 32)), 4)
    trainer.fit(Module(), data)
    return callback


def transformers_fit(broken, on_fail, step=0):
    transformers = pytest.importorskip("transformers")
    from weightinit.torch.transformers import InitAudit

    callback = InitAudit(on_fail=on_fail)
    assert isinstance(callback, transformers.TrainerCallback)
    wrapped = SimpleNamespace(module=model(broken))
    callback.on_train_begin(None, SimpleNamespace(global_step=step), None, model=wrapped)
    return callback


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fit", [lightning_fit, transformers_fit])
def test_a_fault_stops_or_warns_and_goes_to_mlflow(fit, monkeypatch):
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "mlflow", recorder)
    assert fit(False, "raise").report.ok
    assert recorder.tags == {"weightinit.init_audit": "ok"}
    with pytest.raises(ValueError, match="not initialized as it should be"):
        fit(True, "raise")
    assert recorder.tags == {"weightinit.init_audit": "faults"}
    assert recorder.files["init_audit.json"]["ok"] is False
    with pytest.warns(UserWarning, match="2.weight"):
        assert not fit(True, "warn").report.ok


@pytest.mark.filterwarnings("ignore")
def test_what_resumes_is_not_audited_and_without_mlflow_nothing_is_logged(monkeypatch):
    assert transformers_fit(True, "raise", step=10).report is None
    recorder = Recorder(active=False)
    monkeypatch.setitem(sys.modules, "mlflow", recorder)
    assert transformers_fit(False, "raise").report.ok
    assert recorder.files == {}
    with pytest.raises(ValueError, match="on_fail must be one of raise, warn; got 'stop'"):
        transformers_fit(False, "stop")
