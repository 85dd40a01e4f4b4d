"""Activations in models of timm and transformers, by the libraries' own ways of naming them. Nothing is downloaded."""

from __future__ import annotations

import copy
import importlib
import math
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from timm_without_its_kernels import mend_torchvision
from torch import Tensor, nn
from torch.utils.data import Dataset

import actsearch as acs
from actsearch.activations import Activation, describe
from actsearch.records import CandidateRecord, TrialRecord, TrialState
from actsearch.report import VerdictRow

FIXED = "max(x, 0.3) * tanh(x)"  # 0.3 stands in a buffer
LEARNED = "param(1.5) * max(x, 0.25) + param(0.1) * x"
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(0, 50, (64, 8), generator=torch.Generator().manual_seed(0))
LABELS = (TOKENS[:, 0] < 25).long()

TIMM: dict[str, dict[str, Any]] = {
    # else no gradient reaches its blocks at first
    "resnet10t": {"zero_init_last": False, "channels": (8, 12, 16, 24), "stem_width": 8},
    "vit_tiny_patch16_224": {"img_size": 64, "depth": 2, "embed_dim": 24},
    # likewise
    "convnext_atto": {"ls_init_value": 0.5, "depths": (1, 1, 1, 1), "dims": (8, 12, 16, 24)},
    "test_efficientnet": {},  # activations inside of normalisations and of squeeze-and-excitation
}


def imported(name: str) -> Any:
    """A library, or a skip that says how to get it."""
    try:
        mend_torchvision()
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{name} cannot be imported ({error}): see .ci/run for how to install it")


def ours(model: nn.Module) -> dict[str, Activation]:
    return {path: item for path, item in model.named_modules() if isinstance(item, Activation)}


def learned(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items() if "theta" in name}


def take_a_step(model: nn.Module, loss: Tensor) -> None:
    torch.autograd.backward(loss)
    torch.optim.SGD(model.parameters(), lr=0.01).step()


def baseline_row() -> VerdictRow:
    return VerdictRow("ReLU", "ReLU", 0.9, 0, 0, 0, 1, "baseline", (0.9,), 0.9)


class TestTheClass:
    @pytest.mark.parametrize(
        "what",
        [
            "leaky_relu",
            FIXED,
            acs.parse(FIXED),
            acs.Candidate.of("mish"),
            acs.activation("leaky_relu", negative_slope=0.3),
        ],
    )
    def test_a_call_computes_what_was_named(self, what: Any) -> None:
        x = torch.linspace(-3, 3, 13)
        module = acs.timm_act_layer(what)()
        assert isinstance(module, Activation)
        assert torch.equal(module(x), acs.activation(what)(x))

    def test_a_trial_and_a_line_of_a_verdict_name_one_too(self) -> None:
        record = describe(LEARNED)
        trial = TrialRecord(0, TrialState.COMPLETE, CandidateRecord.shared(record))
        row = VerdictRow(
            LEARNED, LEARNED, 0.9, 0, 0, 0, 1, "better", (0.9,), 0.9, activation=record.to_json()
        )
        for what in (acs.Trial(trial), row):
            module = acs.timm_act_layer(what)()
            assert isinstance(module, Activation)
            assert module.formula == record.formula

    def test_each_call_makes_a_module_of_its_own(self) -> None:
        layer = acs.timm_act_layer(LEARNED)
        first, second = layer(), layer(inplace=True)
        assert first is not second
        assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}

    def test_nothing_is_computed_in_place(self) -> None:
        x = torch.linspace(-1, 1, 5)
        acs.timm_act_layer("relu")(inplace=True)(x)
        assert torch.equal(x, torch.linspace(-1, 1, 5))

    def test_what_a_module_has_learned_is_where_new_ones_start(self) -> None:
        module = acs.activation(LEARNED)
        with torch.no_grad():
            module.get_parameter("theta_0").fill_(7)
        layer = acs.timm_act_layer(module)
        with torch.no_grad():
            module.get_parameter("theta_0").fill_(8)  # later changes are no part of it
        assert layer().get_parameter("theta_0").item() == 7

    def test_the_modules_can_be_copied_and_pickled(self) -> None:
        x = torch.linspace(-3, 3, 13)
        module = acs.timm_act_layer(LEARNED)()
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(other(x), module(x))

    @pytest.mark.parametrize("name", sorted({acs.catalog[name].name for name in acs.catalog}))
    def test_every_catalog_row_computes_the_same_or_is_refused_with_the_reason(
        self, name: str
    ) -> None:
        x = torch.linspace(-3, 3, 13)
        if name == "maxout" or acs.catalog[name].role != "hidden":
            with pytest.raises(acs.ActivationError, match=r"acs\.place|not for hidden layers"):
                acs.timm_act_layer(name)
        else:
            module = acs.timm_act_layer(name)().eval()
            assert torch.equal(module(x), acs.activation(name).eval()(x))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("param(1.0, per='channel') * x", r"learns for each channel: .*acs\.place"),
        (acs.activation("prelu", channels=4), r"learns for each channel: .*acs\.place"),
        ("maxout", r"needs a wider layer before it: .*acs\.place"),
        ("glu", "not for hidden layers"),
        ("softmax", "not for hidden layers"),
        ("no_such_thing", "no activation is called"),
        (acs.Candidate.baseline(), "model unchanged, not an activation"),
        (baseline_row(), "the model unchanged, not an activation"),
    ],
)
@pytest.mark.parametrize("take", [acs.timm_act_layer, lambda what: acs.register_hf("ours", what)])
def test_what_no_library_could_call_is_refused(take: Any, what: Any, says: str) -> None:
    with pytest.raises(acs.ActivationError, match=says):
        take(what)


@pytest.mark.slow
def test_neither_library_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, actsearch as acs\n"
        "acs.register_hf; acs.timm_act_layer('relu')()\n"
        "print({'timm', 'transformers'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr


def test_without_transformers_the_error_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(acs.ActsearchError, match="pip install transformers"):
        acs.register_hf("ours", "relu")


class TestTimm:
    def model(self, name: str, seed: int = 0, **settings: Any) -> nn.Module:
        timm = imported("timm")
        torch.manual_seed(seed)
        model = timm.create_model(
            name, pretrained=False, num_classes=3, **TIMM.get(name, {}), **settings
        )
        assert isinstance(model, nn.Module)
        return model.eval()

    @pytest.mark.parametrize("name", TIMM)
    @pytest.mark.parametrize("what", [FIXED, LEARNED, "mish"])
    def test_a_model_is_the_same_as_with_the_activation_placed(self, name: str, what: str) -> None:
        default = self.model(name)
        model = self.model(name, act_layer=acs.timm_act_layer(what))
        placed = acs.place(default, what, sample=IMAGES).model
        with torch.no_grad():
            assert torch.equal(model(IMAGES), placed(IMAGES))
            assert not torch.allclose(model(IMAGES), default(IMAGES))
        assert ours(model).keys() == ours(placed).keys()
        assert {item.formula for item in ours(model).values()} == {describe(what).formula}
        placed.load_state_dict(model.state_dict())

    @pytest.mark.parametrize("name", TIMM)
    def test_learned_parameters_train_and_are_saved(self, name: str, tmp_path: Path) -> None:
        layer = acs.timm_act_layer(LEARNED)
        model = self.model(name, act_layer=layer).train()
        before = learned(model)
        take_a_step(model, model(IMAGES).square().mean())
        assert len(before) == 2 * len(ours(model)) > 0
        assert not [
            key for key, value in learned(model).items() if torch.equal(value, before[key])
        ]
        torch.save(model.state_dict(), tmp_path / "model.pt")
        other = self.model(name, seed=1, act_layer=layer)
        other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
        with torch.no_grad():
            assert model.eval()(IMAGES).isfinite().all()
            assert torch.equal(other(IMAGES), model(IMAGES))

    def test_timm_s_own_factories_take_it(self) -> None:
        layers = imported("timm.layers")
        layer = acs.timm_act_layer(FIXED)
        x = torch.linspace(-3, 3, 32).reshape(1, 8, 2, 2)
        expected = acs.activation(FIXED)(x)
        assert layers.get_act_layer(layer) is layer
        assert issubclass(layer, nn.Module)  # some models ask
        for inplace in (None, False, True):
            assert torch.equal(layers.create_act_layer(layer, inplace=inplace)(x), expected)
        norm = layers.get_norm_act_layer("layernorm2d", act_layer=layer)(8)
        assert list(ours(norm)) == ["act"]

    def test_pretrained_weights_load_where_nothing_is_learned_and_are_refused_elsewhere(
        self, tmp_path: Path
    ) -> None:
        torch.save(self.model("test_resnet").state_dict(), tmp_path / "model.pt")

        def load(what: str) -> nn.Module:
            model = imported("timm").create_model(
                "test_resnet",
                pretrained=True,
                num_classes=3,
                act_layer=acs.timm_act_layer(what),
                pretrained_cfg_overlay={"file": str(tmp_path / "model.pt"), "num_classes": 3},
            )
            assert isinstance(model, nn.Module)
            return model.eval()

        placed = acs.place(self.model("test_resnet"), FIXED).model
        with torch.no_grad():
            assert torch.equal(load(FIXED)(IMAGES), placed(IMAGES))
        with pytest.raises(RuntimeError, match="theta_0"):
            load(LEARNED)


@pytest.fixture
def activations() -> Iterator[Any]:
    """transformers' module of activations, afterwards as it was."""
    module = imported("transformers.activations")
    names = set(module.ACT2FN)
    yield module
    for table in (module.ACT2FN, module.ACT2CLS):
        for name in set(table) - names:
            del table[name]


def bert(seed: int = 0, **settings: Any) -> nn.Module:
    """Two layers of 16 units, made from a configuration."""
    transformers = imported("transformers")
    torch.manual_seed(seed)
    model = transformers.BertForSequenceClassification(bert_config(**settings))
    assert isinstance(model, nn.Module)
    return model.eval()


def bert_config(**settings: Any) -> Any:
    return imported("transformers").BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
        initializer_range=0.2,
        **settings,
    )


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=TOKENS[:4]).logits
    return found


def loaded(folder: Path, **settings: Any) -> nn.Module:
    model = imported("transformers").BertForSequenceClassification.from_pretrained(
        folder, **settings
    )
    assert isinstance(model, nn.Module)
    return model


@pytest.mark.usefixtures("activations")
class TestTransformers:
    @pytest.mark.parametrize("what", [FIXED, LEARNED, "mish"])
    def test_a_model_is_the_same_as_with_the_activation_placed(self, what: str) -> None:
        default = bert()
        model = bert(hidden_act=acs.register_hf("ours", what))
        placed = acs.place(default, what, where="bert.encoder.*").model
        assert torch.equal(logits(model), logits(placed))
        assert not torch.allclose(logits(model), logits(default))
        assert ours(model).keys() == ours(placed).keys()
        assert len(ours(model)) == 2
        placed.load_state_dict(model.state_dict())

    def test_learned_parameters_train_and_are_saved(self, tmp_path: Path) -> None:
        model: Any = bert(hidden_act=acs.register_hf("ours", LEARNED))
        before = learned(model)
        take_a_step(model, model(input_ids=TOKENS[:8], labels=LABELS[:8]).loss)
        after = learned(model)
        assert len(before) == 4
        assert not [key for key, value in after.items() if torch.equal(value, before[key])]
        model.save_pretrained(tmp_path)
        again = loaded(tmp_path)
        assert learned(again).keys() == after.keys()
        assert all(torch.equal(value, after[key]) for key, value in learned(again).items())
        assert torch.equal(logits(again), logits(model))  # constants are in no checkpoint
        again.init_weights()  # type: ignore[operator]  # leaves alone what is there
        assert torch.equal(logits(again), logits(model))

    def test_weights_of_a_model_with_another_activation_load(self, tmp_path: Path) -> None:
        """transformers allots memory for what the checkpoint lacks, and leaves in it what was there."""
        model: Any = bert()
        model.save_pretrained(tmp_path)
        placed = acs.place(model, LEARNED, where="bert.encoder.*").model
        assert torch.equal(
            logits(loaded(tmp_path, hidden_act=acs.register_hf("ours", LEARNED))), logits(placed)
        )

    def test_so_they_do_in_half_precision(self, tmp_path: Path) -> None:
        model: Any = bert()
        model.save_pretrained(tmp_path)
        name = acs.register_hf("ours", LEARNED)
        half = loaded(tmp_path, hidden_act=name, dtype=torch.bfloat16)
        assert {value.dtype for value in half.parameters()} == {torch.bfloat16}
        torch.testing.assert_close(
            logits(half).float(), logits(loaded(tmp_path, hidden_act=name)), rtol=0.1, atol=0.1
        )

    def test_what_a_module_has_learned_is_where_a_loaded_model_starts(
        self, tmp_path: Path
    ) -> None:
        model: Any = bert()
        model.save_pretrained(tmp_path)
        trained = acs.activation(LEARNED)
        with torch.no_grad():
            trained.get_parameter("theta_0").fill_(7)
        again = loaded(tmp_path, hidden_act=acs.register_hf("ours", trained))
        values = {name[-7:]: value.item() for name, value in learned(again).items()}
        assert values == {"theta_0": 7, "theta_1": pytest.approx(0.1)}

    def test_a_relu_of_any_derivative_at_0_is_right_after_loading(self, tmp_path: Path) -> None:
        model: Any = bert(hidden_act="relu")
        model.save_pretrained(tmp_path)
        relu = acs.Candidate.of("relu", grad_at_zero=0.5)
        again = loaded(tmp_path, hidden_act=acs.register_hf("ours", relu))
        assert torch.equal(logits(again), logits(model))

    def test_a_model_can_be_copied_and_pickled(self) -> None:
        model = bert(hidden_act=acs.register_hf("ours", LEARNED))
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(logits(other), logits(model))

    @pytest.mark.parametrize(
        ("kind", "key"), [("GPT2", "activation_function"), ("Llama", "hidden_act")]
    )
    def test_other_models_find_it_under_their_own_key(self, kind: str, key: str) -> None:
        transformers = imported("transformers")
        config = getattr(transformers, f"{kind}Config")(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            bos_token_id=0,
            eos_token_id=0,
            **{key: acs.register_hf("ours", FIXED)},
        )
        model = getattr(transformers, f"{kind}Model")(config).eval()
        assert [item.formula for item in ours(model).values()] == [describe(FIXED).formula]
        with torch.no_grad():
            assert model(input_ids=TOKENS[:2]).last_hidden_state.isfinite().all()

    def test_both_tables_have_it(self, activations: Any) -> None:
        acs.register_hf("ours", FIXED)
        assert isinstance(activations.ACT2FN["ours"], Activation)
        assert isinstance(activations.ACT2CLS["ours"](), Activation)

    @pytest.mark.parametrize("name", ["gelu", "gelu_10", "relu"])
    def test_no_name_of_transformers_is_overwritten(self, name: str, activations: Any) -> None:
        before = type(activations.ACT2FN[name])
        with pytest.raises(acs.ActivationError, match="take another name"):
            acs.register_hf(name, FIXED)
        assert type(activations.ACT2FN[name]) is before

    def test_one_of_ours_gets_a_new_meaning(self, activations: Any) -> None:
        assert acs.register_hf("ours", "mish") == "ours"
        assert acs.register_hf("ours", FIXED) == "ours"
        assert activations.ACT2FN["ours"].formula == describe(FIXED).formula

    @pytest.mark.parametrize("name", ["", " ", None, 3])
    def test_a_name_is_a_text(self, name: Any) -> None:
        with pytest.raises(acs.ActivationError, match="a name for transformers is a text"):
            acs.register_hf(name, FIXED)


class Sentences(Dataset[dict[str, Tensor]]):
    """Tokens, a mask and a label: the class of the first token."""

    def __init__(self, start: int, stop: int) -> None:
        self._rows = range(start, stop)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = self._rows[index]
        mask = torch.ones_like(TOKENS[row])
        return {"input_ids": TOKENS[row], "attention_mask": mask, "labels": LABELS[row]}


def step(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    loss: Tensor = model(**batch).loss
    return loss


def evaluate(model: nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> dict[str, float]:
    hits = [model(**batch).logits.argmax(1) == batch["labels"] for batch in batches]
    return {"accuracy": torch.cat(hits).float().mean().item()}


@pytest.mark.slow
def test_a_search_over_a_model_of_transformers_with_batches_by_name(sqlite_url: str) -> None:
    task = acs.Task(
        model=bert,
        train=Sentences(0, 40),
        valid=Sentences(40, 52),
        test=Sentences(52, 64),
        step=step,
        evaluate=evaluate,
        metric="accuracy",
        epochs=1,
        batch_size=8,
        device="cpu",
    )
    study = acs.create_study(study_name="bert", storage=sqlite_url, strategy="random")
    study.enqueue_trial(FIXED)
    study.enqueue_trial("max(x, param(0.1, per='channel') * x)")  # shapes are told by a batch
    study.optimize(task, n_trials=2, show_progress_bar=False)
    trained = [trial for trial in study.trials if trial.state.is_trained]
    assert [trial.state for trial in trained] == [TrialState.COMPLETE] * 2, trained
    assert all(trial.value is not None and math.isfinite(trial.value) for trial in trained)
    verdict = study.confirm(task, top_k=1, seeds=2, show_progress_bar=False)
    assert len(verdict.rows) >= 1
