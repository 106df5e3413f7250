#!/usr/bin/env python3
"""Write Llama 4's tokenizer.json and tokenizer_config.json from Meta's own tokenizer.model.

usage: pip install --no-deps llama-models
       scripts/llama4_tokenizer.py build/llama4-tokenizer

The tokenizer may not be part of this repository; tests that need it look in build/llama4-tokenizer or in the folder
named by OUTRIDER_LLAMA4_TOKENIZER, and are skipped without it. Needs only the standard library besides that package.
"""
import base64
import importlib.util
import json
import pathlib
import sys

PATTERN = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
])
FIRST_SPECIAL = 200000
LAST_SPECIAL = 201133
NAMED = {0: "begin_of_text", 1: "end_of_text", 2: "fim_prefix", 3: "fim_middle", 4: "fim_suffix", 5: "header_start",
         6: "header_end", 7: "eom", 8: "eot", 9: "step", 16: "python_start", 17: "python_end", 18: "finetune_right_pad",
         80: "image_start", 81: "image_end", 84: "tile_x_separator", 85: "tile_y_separator", 90: "image", 92: "patch"}
FIRST_VISION = 80


def special_tokens():
    """(id, content); ids without a name of their own are reserved, numbered within their family."""
    numbers = {"text_post_train": 0, "vision": 0}
    for offset in range(LAST_SPECIAL - FIRST_SPECIAL + 1):
        family = "vision" if offset >= FIRST_VISION else "text_post_train"
        name = NAMED.get(offset)
        if name is None:
            name = f"{family}_reserved_special_token_{numbers[family]}"
            numbers[family] += 1
        elif name in ("python_start", "finetune_right_pad"):
            numbers[family] += 1  # two reserved numbers were given to named tokens
        yield FIRST_SPECIAL + offset, f"<|{name}|>"


def byte_alphabet():
    """GPT-2's spelling of bytes: printable Latin-1 stands for itself, the rest for U+0100 onwards."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def read_ranks():
    package = importlib.util.find_spec("llama_models")
    if package is None:
        sys.exit("the package llama-models is not installed: pip install --no-deps llama-models")
    model = pathlib.Path(package.origin).parent / "llama4/tokenizer.model"
    lines = (line.split() for line in model.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def merges(ranks):
    """A token may be made from any two tokens that spell it; tokens of lower rank are made first."""
    pairs = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ranks and right in ranks:
                pairs.append((rank, ranks[left], ranks[right], left, right))
    return [pair[3:] for pair in sorted(pairs)]


def tokenizer_json(ranks):
    alphabet = byte_alphabet()
    spell = {token: "".join(alphabet[byte] for byte in token) for token in ranks}
    bos = "<|begin_of_text|>"
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": content, **flags} for i, content in special_tokens()],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
        "post_processor": {"type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
            {"type": "TemplateProcessing",
             "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
             "pair": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                      {"SpecialToken": {"id": bos, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
             "special_tokens": {bos: {"id": bos, "ids": [FIRST_SPECIAL], "tokens": [bos]}}}]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                  "vocab": {spell[token]: rank for token, rank in ranks.items()},
                  "merges": [[spell[left], spell[right]] for left, right in merges(ranks)]},
    }


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    named = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot|>", "pad_token": "<|finetune_right_pad|>"}
    for name, content in (("tokenizer.json", tokenizer_json(read_ranks())),
                          ("tokenizer_config.json", {**named, "clean_up_tokenization_spaces": False,
                                                     "model_input_names": ["input_ids", "attention_mask"],
                                                     "tokenizer_class": "PreTrainedTokenizerFast"})):
        (out / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
