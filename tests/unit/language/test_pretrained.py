"""A hub's models behind our protocols: tiny ones on the disk, and a hub on loopback that knows nothing or is away."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.fakes import hub_models
from tests.fakes.torch_stack import import_or_skip

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.base import SENTIMENTS
from kalibre.language.load import load

torch, transformers, _ = import_or_skip("torch", "transformers", "tokenizers")
TEXTS = ["Borsa güne yükselişle başladı", "Şirketin kârı düştü.", ""]
ODD = ["", " ", "😀🚀", "\x00\x01", "\u202e\u200f", "a\ud800b", "kâr " * 5_000, "漢字"]


@pytest.fixture(scope="module")
def sentiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "sentiment"
    return hub_models.write(folder, "ForSequenceClassification", ["Olumlu", "NOTR", "negative"])


def test_labels_are_brought_to_ours_whatever_their_order(sentiment: Path) -> None:
    model = load("sentiment", str(sentiment))
    first, second, empty = model.predict(TEXTS)
    assert first.model.startswith("folder:sentiment@")
    assert sum(first.probabilities) == pytest.approx(1.0)
    assert first.label == SENTIMENTS[max(range(3), key=lambda at: first.probabilities[at])]
    tokenizer = transformers.AutoTokenizer.from_pretrained(sentiment)
    peer = transformers.AutoModelForSequenceClassification.from_pretrained(sentiment)
    with torch.no_grad():
        wanted = peer(**tokenizer(TEXTS[1], return_tensors="pt")).logits[0].softmax(-1).tolist()
    assert second.probabilities == pytest.approx([wanted[2], wanted[1], wanted[0]], abs=1e-5)
    assert empty.label is None
    assert empty.abstained == "empty"
    assert first.language == "tr"


def test_odd_texts_never_crash(sentiment: Path, tmp_path: Path) -> None:
    assert len(load("sentiment", str(sentiment)).predict(ODD)) == len(ODD)
    tagger = load(
        "entities", str(hub_models.write(tmp_path / "tags", "ForTokenClassification", ["O", "B-PER", "I-PER"]))
    )
    for text, found in zip(ODD, tagger.predict(ODD), strict=True):
        assert all(text[one.start : one.end] == one.text for one in found)
    reader = load("answering", str(hub_models.write(tmp_path / "reads", "ForQuestionAnswering")))
    for text in ODD:
        assert all(text[one.start : one.end] == one.text for one in reader.read("kim?", [text]))
        assert isinstance(reader.read(text, ["borsa düştü"]), list)


def test_stars_are_sentiments_and_nameless_labels_are_not(tmp_path: Path) -> None:
    stars = ["1 star", "2 stars", "3 stars", "4 stars", "5 stars"]
    (said,) = load("sentiment", str(hub_models.write(tmp_path / "stars", "ForSequenceClassification", stars))).predict(
        ["kârı arttı"]
    )
    assert sum(said.probabilities) == pytest.approx(1.0)
    nameless = hub_models.write(tmp_path / "x", "ForSequenceClassification", ["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.raises(ModelError, match="LABEL_0, LABEL_1, LABEL_2: name a model"):
        load("sentiment", str(nameless))


@pytest.mark.parametrize(
    "labels", [["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-MISC", "I-MISC"], ["ORG", "LOC", "O"], ["I-GPE", "O"]]
)
def test_names_come_with_our_types_and_without_suffix(tmp_path: Path, labels: list[str]) -> None:
    folder = hub_models.write(tmp_path / "tagger", "ForTokenClassification", labels, seed=3)
    text = "Örnek Bankası'nın kârı arttı, borsa güne yükselişle başladı"
    (found,) = load("entities", str(folder)).predict([text])
    assert all(one.type in {"PERSON", "ORGANIZATION", "LOCATION"} for one in found)
    assert all(text[one.start : one.end] == one.text and not one.text.endswith("nın") for one in found)
    assert [one.start for one in found] == sorted(one.start for one in found)


def test_types_that_mean_nothing_here_are_refused(tmp_path: Path) -> None:
    folder = hub_models.write(tmp_path / "tagger", "ForTokenClassification", ["O", "B-NOUN", "I-VERB"])
    with pytest.raises(ModelError, match="none is a type that is known"):
        load("entities", str(folder))


def test_a_long_text_is_tagged_to_its_end(tmp_path: Path) -> None:
    folder = hub_models.write(tmp_path / "tagger", "ForTokenClassification", ["B-PER", "I-PER"])
    text = "borsa düştü . " * 60
    (found,) = load("entities", str(folder)).predict([text])
    assert found[-1].end > len(text) - 30


def test_a_reader_finds_spans_of_its_passage(tmp_path: Path) -> None:
    reader = load("answering", str(hub_models.write(tmp_path / "reader", "ForQuestionAnswering")))
    passages = ["Borsa güne yükselişle başladı.", "", "Şirketin kârı arttı. " * 20]
    found = reader.read("Ne arttı?", passages, limit=4)
    assert len(found) == 4
    assert all(passages[one.passage][one.start : one.end] == one.text for one in found)
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)


def test_a_category_model_keeps_its_own_classes(tmp_path: Path) -> None:
    model = load("category", str(hub_models.write(tmp_path / "news", "ForSequenceClassification", ["spor", "ekonomi"])))
    assert model.classes == ("spor", "ekonomi")
    assert sum(model.predict_proba(["borsa"])[0]) == pytest.approx(1.0)


def test_an_encoder_without_a_head_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="without a trained head for sentiment"):
        load("sentiment", str(hub_models.write(tmp_path / "bare", "Model")))


def test_pickle_is_refused_before_it_is_opened(sentiment: Path, tmp_path: Path) -> None:
    folder = hub_models.write(tmp_path / "pickled", "ForSequenceClassification", ["negative", "neutral", "positive"])
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04never read")
    with pytest.raises(ModelError, match=r"pytorch_model.bin', which can run code"):
        load("sentiment", str(folder))


def test_folders_that_are_no_models_say_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no model"):
        load("sentiment", str(tmp_path))
    folder = hub_models.write(tmp_path / "torn", "ForSequenceClassification", ["negative", "neutral", "positive"])
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="cannot be read"):
        load("sentiment", str(folder))
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read"):
        load("sentiment", str(folder))


def test_a_name_that_cannot_be_an_id_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="is none: say builtin:fast"):
        load("sentiment", "../nowhere/at all")
    with pytest.raises(UsageError, match="unknown"):
        load("nothing", "owner/name")


# --- a hub on loopback ------------------------------------------------------------------------------------------------


class _KnowsNothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"error": "Repository not found"}).encode()
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _KnowsNothing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_unknown_id_is_told_from_a_hub_that_is_away(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub)
    with pytest.raises(UsageError, match=r"'nobody/nothing' is no folder here, and the hub knows no such id"):
        load("sentiment", "nobody/nothing")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"'nobody/nothing' is no folder here, the hub cannot be reached"):
        load("sentiment", "nobody/nothing")
