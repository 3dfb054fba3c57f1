"""Features from beyond the sentence, and another tagger's opinion as a feature."""

import numpy as np
from tests.unit.language.entities.toy import sentences

from kalibre.language.entities.context import REACH, elsewhere, hints
from kalibre.language.entities.endings import bare_end
from kalibre.language.entities.metrics import score
from kalibre.language.entities.tagger import train
from kalibre.language.entities.tags import mentions


def test_the_same_name_is_found_within_reach_only():
    first, other = "Akpınar Holding büyüdü .".split(), "Dün Akpınar'ın kârı arttı .".split()
    near = elsewhere([first, other])
    alone = elsewhere([first])
    far = elsewhere([first, *[["bu", "da"]] * REACH, other])
    assert not np.array_equal(near[0], alone[0])
    assert np.array_equal(far[0], alone[0])
    assert np.array_equal(near[1], alone[1])  # Holding stands there alone
    assert not near[2].any()  # small words have none
    assert elsewhere([]).shape == (0, 8)


def test_a_helper_of_other_types_helps():
    few, many, unseen = sentences(6), sentences(300, seed=5), sentences(80, seed=9)
    renamed = [[tag.replace("ORG", "X").replace("PER", "Y") for tag in tags] for _, tags in many]
    helper = train([one for one, _ in many], renamed, calibrate=False)
    true = [mentions(tags) for _, tags in unseen]
    found = []
    for given in (None, helper):
        tagger = train([one for one, _ in few], [tags for _, tags in few], helper=given, calibrate=False)
        found.append(score(true, tagger.tag([one for one, _ in unseen])).f1)
    assert found[1] > found[0]


def test_hints_have_a_column_for_each_type():
    some = sentences(40)
    helper = train([one for one, _ in some], [tags for _, tags in some], calibrate=False)
    tokens = [one for one, _ in some[:5]]
    told = hints(helper.crf, helper.scores(tokens), tokens)
    assert told.shape == (sum(map(len, tokens)), 7 + 3)
    assert hints(helper.crf, helper.scores([]), []).shape == (0, 10)


def test_running_text_is_tagged_with_its_neighbours():
    some = sentences(60)
    tagger = train([one for one, _ in some], [tags for _, tags in some], running=True, calibrate=False)
    assert len(tagger.tag([one for one, _ in some])) == 60


def test_institutions_end_before_their_case_suffix():
    for whole, bare in (
        ("Bankasının", "Bankası"), ("Bankası", "Bankası"), ("BAKANLIĞI'NA", "BAKANLIĞI'NA"), ("Kurumundan", "Kurumu"),
        ("bankasının", "bankasının"), ("Holding", "Holding"), ("Birliğine", "Birliği"), ("", ""),
    ):  # fmt: skip
        assert whole[: bare_end(whole, 0, len(whole))] == bare
