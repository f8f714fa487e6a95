"""Gates of captions: people's captions come through clean, refusals, code, loops and contradictions do not."""

from __future__ import annotations

import importlib.util
import random
import string
from pathlib import Path

import pytest

from reidsynth.gates import judge
from reidsynth.language import _FRAGMENT, _REFUSAL, contradictions, is_fragment, is_refusal
from reidsynth.schema import Text
from reidsynth.sources import build_source
from reidsynth.thresholds import AS_SHIPPED
from reidsynth.tokens import CLIP_CONTEXT, clip_tokens, within_clip

LONG = (
    "The woman has long brown hair that falls over her shoulders, and wears a white coat with grey buttons over a "
    "striped dress in red and blue; black tights, high brown leather boots with a zip, and carries a beige handbag "
    "with a golden clasp in her left hand while the right one holds a phone close to her ear, and she walks quickly "
    "along the street. Behind her there is a wall."
)

REFUSING = (
    "I I'm I’m am sorry unable not able cannot can't can’t can apologize apologise as an a AI artificial large "
    "language model assistant to assist help comply process view against my our the policy guidelines no image "
    "photos picture was is has been provided lorem ipsum hope this helps let me know sure certainly of course "
    "absolutely here's here are some caption description: answer output 1: json , . a man in red"
)


@pytest.fixture(scope="module")
def drawn():
    source = build_source("demo", {"train": 60, "val": 0, "test": 0, "seed": 3, "height": 64, "width": 32})
    return [source.read(record).texts["text"] for record in source.records("train")]


def test_tokens_are_those_of_open_clip(drawn):
    spec = importlib.util.find_spec("open_clip")  # the file alone: the package takes ten seconds to import
    file = Path(spec.origin).with_name("tokenizer.py")
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    reference = module.SimpleTokenizer()
    rng = random.Random(0)
    letters = string.printable[:95] + " " * 20 + "éüßñ“”…—你好"
    texts = [caption for text in drawn for caption in text.captions]
    texts += ["".join(rng.choices(letters, k=rng.randrange(1, 120))) for _ in range(200)]
    texts += ["A woman's t-shirt; she'll wear 25 &amp; 3.5", "  two\n lines\t", "naïve “café” ＦＵＬＬ", ""]
    assert [clip_tokens(text) for text in texts] == [len(reference.encode(text)) + 2 for text in texts]


@pytest.mark.parametrize("tokens", [77, 60, 30, 12, 5])
def test_shortened_texts_fit_and_are_beginnings(tokens):
    short = within_clip(LONG, tokens)
    assert clip_tokens(short) <= tokens
    assert LONG.startswith(short[:-1])
    assert short.endswith(".")
    assert not short.endswith((",.", ";.", " ."))
    assert clip_tokens(LONG) > CLIP_CONTEXT


def test_shortening_prefers_whole_sentences_and_leaves_short_texts_alone():
    assert within_clip(LONG, clip_tokens(LONG) - 1).endswith("along the street.")
    assert within_clip("A man in red.") == "A man in red."
    assert within_clip("a" * 3000, 8) == ""  # one endless word has no end to cut at


def test_captions_of_the_drawn_world_come_through_clean(drawn):
    for text in drawn:
        verdict = judge("text", text)
        assert (verdict.verdict, verdict.scores["contradictions"]) == ("pass", 0.0), text


def test_captions_of_somebody_else_are_noticed(drawn):
    rng = random.Random(0)
    others = [rng.choice(drawn) for _ in drawn]
    wrong = [
        judge("text", Text(text.captions, other.attributes)).reason
        for text, other in zip(drawn, others, strict=True)
        if text.attributes != other.attributes
    ]
    assert wrong.count("contradicts the attributes") > 0.9 * len(wrong)


@pytest.mark.parametrize(
    "caption",
    [
        "I'm sorry, but I can't assist with identifying people in images.",
        "As an AI language model I do not describe people.",
        "Sure! A man in a red shirt walks along the street with a bag.",
        "Here is the caption you asked for: a man in a red shirt.",
        "I cannot see the person clearly enough in this image.",
        "Caption 1: A woman in a blue dress with a handbag.",
        "No image was provided, please upload one of the person.",
    ],
)
def test_refusals_and_boilerplate(caption):
    assert is_refusal(caption)
    assert judge("text", Text((caption,))).reason == "refusal or boilerplate"


def test_no_fragment_is_passed_over_for_the_sake_of_speed():
    pieces = [*'`{}<>[]|\\*_#~^":;&\ufffd()=/. aAzZé1', "http", "www", "null", "undefined", "NaN", "amp", "man", "```"]
    rng = random.Random(0)
    found = 0
    for _ in range(20_000):
        told = "".join(rng.choices(pieces, k=rng.randint(1, 7)))
        coded = _FRAGMENT.search(told) is not None
        assert not coded or is_fragment(told), told
        found += coded
    assert 5000 < found < 19_000


def test_no_refusal_is_passed_over_for_the_sake_of_speed():
    """Sentences made of the words that refusals hold, in any case: looking for some of them first changes nothing."""
    words = REFUSING.split()
    rng = random.Random(0)
    found = 0
    for _ in range(20_000):
        told = " ".join(rng.choices(words, k=rng.randint(2, 7)))
        told = rng.choice([told, told.upper(), told.capitalize()])
        assert is_refusal(told) == (_REFUSAL.search(told) is not None), told
        found += is_refusal(told)
    assert found > 1000


@pytest.mark.parametrize(
    "caption",
    [
        '{"captions": ["A man in a red shirt"]}',
        "```json A man in a red shirt walks by",
        "A man wearing <color> trousers and a [colour] shirt",
        "A man in a shirt see https://example.org/a",
        "A man man man in a red shirt",
        "the person is walking and " * 8,
        "Mężczyzna ma czarne włosy i 一个穿着红色衬衫的男人走在街上",
        "A person whose upper_body is red and undefined",
        "A man in a red shirt\\nand blue jeans",
    ],
)
def test_code_loops_and_other_scripts(caption):
    assert is_fragment(caption)
    assert judge("text", Text((caption,))).reason == "code or no language"


@pytest.mark.parametrize(
    "caption",
    [
        "The man here is wearing a grey/white t-shirt (size L?), dark-blue jeans & white trainers; he's about 25.",
        "Sure-footed woman in a coat, certainly not young, with a café-au-lait bag.",
        "A lady with a pair of 3/4 length pants and a “Hello” print on her shirt!",
        "His shirt is white, his shirt's collar is white, and his trousers are white as well.",
    ],
)
def test_what_people_write_is_no_fragment_and_no_refusal(caption):
    assert not is_fragment(caption)
    assert not is_refusal(caption)


@pytest.mark.parametrize(
    ("caption", "attributes", "found"),
    [
        ("A man in a black jacket over a white shirt.", {"upper_colour": "white"}, ()),
        ("A man in a black jacket.", {"upper_colour": "white"}, ("upper",)),
        ("A woman with red dress shoes and a blue dress.", {"upper_colour": "blue", "shoes_colour": "red"}, ()),
        ("She wears jeans that are grey.", {"lower_type": "skirt"}, ("lower",)),
        ("He wears short trousers.", {"lower_type": "shorts"}, ()),
        ("A person without a bag.", {"bag": "none"}, ()),
        ("A person with a bag and a cap.", {"bag": "none", "headwear": "none"}, ("headwear", "bag")),
        ("A man and a woman.", {"gender": "male"}, ()),
        ("A tall lady.", {"gender": "male"}, ("gender",)),
        ("A person in a dark green coat.", {"upper_colour": "black"}, ("upper",)),
        ("A person in a red and white striped top.", {"upper_colour": "blue", "upper_pattern_colour": "white"}, ()),
        ("A person in a green coat.", {"upper_colour": None, "lower_colour": "red"}, ()),
    ],
)
def test_contradictions(caption, attributes, found):
    assert contradictions(caption, attributes) == found


def test_lengths_are_judged_and_captions_of_people_are_only_scored():
    long = Text((("A man in a red shirt walks by. " * 30).strip(),))
    assert judge("text", long).reason == "caption too long"
    assert judge("text", Text(("A man.",), short=LONG)).reason == "short version does not fit CLIP"
    told = judge("text", Text(("I'm sorry, a man <b>walks</b>.",), {"gender": "female"}), limits=AS_SHIPPED)
    assert told.verdict == "pass"
    assert [told.scores[name] for name in ("refusals", "fragments", "contradictions")] == [1.0, 1.0, 1.0]
    assert judge("text", Text(("",)), limits=AS_SHIPPED).reason == "empty caption"
