#!/usr/bin/env python3
"""Write the tokenizer goldens of tests/fixtures/tokenizer with Hugging Face tokenizers (pip install tokenizers).

pocket_cases.jsonl  texts with the ids that models/pocket-scout/fp8/tokenizer.json gives them
odd.json            a tokenizer with added tokens that overlap, hold spaces, are not special or wait for the second pass
odd_cases.jsonl     the same for odd.json
"""
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/fixtures/tokenizer"
POCKET = ROOT / "models/pocket-scout/fp8/tokenizer.json"
WORDS = ["The", " quick", " brown", "San Francisco", " is a", " city", " 1234567", " 42", "####", "\n\n", "\r\n", "  ", "\t",
         "'s", "'LL", "don't", " café", "e\u0301", "漢字かな", "한국어", "🌧️", "👩\u200d🚀", "١٢٣", "½", "\u00a0", "\u180e", "\u3000",
         "\x00", "\x1c", "x = {'a': [1, 2]}", "//", "/", "...", "!?", "_", "ABC", "aBc", "ǅ", "ß", "ſ"]
POCKET_SPECIALS = ["<|begin_of_text|>", "<|eot|>", "<|header_start|>", "<|python_start|>", "<|eot", "|>", "<|"]
ODD_ADDED = [("<a>", True, False), ("<a><b>", True, False), ("<b>c", False, False), ("two words", False, True),
             ("words", False, True), ("é<", False, False), ("\u0120q", False, False), ("漢", True, False)]


def odd_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc"), ("Ġ", "a"), ("Ġa", "b"), ("a", "a"), ("aa", "aa"), ("o", "r")]
    vocabulary = {token: i for i, token in enumerate(alphabet)}
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    vocabulary["Ġabab"] = len(vocabulary)  # no merge leads here: ignore_merges is what finds it
    tokenizer = Tokenizer(BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r" ?\p{L}+|\p{N}{1,3}|\s+"), behavior="isolated", invert=False),  # "!" matches nothing
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    for content, special, normalized in ODD_ADDED:
        tokenizer.add_tokens([AddedToken(content, special=special, normalized=normalized)])
    first = tokenizer.token_to_id("<a>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<a> $A", special_tokens=[("<a>", first)])
    return tokenizer


def texts(rng, pool, count):
    yield ""
    for _ in range(count):
        yield "".join(rng.choice(pool) for _ in range(rng.randint(1, 12)))


def write(name, tokenizer, cases):
    with open(OUT / name, "w", encoding="utf-8") as out:
        for text in cases:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            case = {"text": text, "ids": ids, "ids_special": tokenizer.encode(text).ids,
                    "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                    "decoded_skip_special": tokenizer.decode(ids, skip_special_tokens=True)}
            out.write(json.dumps(case) + "\n")


def main():
    rng = random.Random(4)
    pocket = Tokenizer.from_file(str(POCKET))
    write("pocket_cases.jsonl", pocket, [*texts(rng, WORDS + POCKET_SPECIALS, 300), "a" * 500, "漢" * 100, " " * 300])
    odd = odd_tokenizer()
    odd.save(str(OUT / "odd.json"), pretty=False)
    pool = [content for content, _, _ in ODD_ADDED] + ["a", "b", "c", "ab", "abc", " abab", " ", "<", ">", "two", "é", "!", "7", "1234", "aaaa"]
    write("odd_cases.jsonl", odd, texts(rng, pool, 300))


if __name__ == "__main__":
    main()
