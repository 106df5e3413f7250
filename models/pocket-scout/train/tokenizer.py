"""Train Pocket Scout's tokenizer and write its files: tokenizer.py OUTDIR. Byte-level BPE in the form of Llama 4's tokenizer.json."""
import json
import os
import re
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE

import corpus

VOCAB = 4096
# Llama 4's pre-tokenisation pattern
PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
           r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
           r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# the first 19 in Llama 4's order, so that bos is at +0, eot at +8, pad at +18; then the vision tokens in its order
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|header_start|>", "<|header_end|>",
           "<|eom|>", "<|eot|>", "<|step|>", *(f"<|text_post_train_reserved_special_token_{i}|>" for i in range(6)),
           "<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>",
           "<|image_start|>", "<|image_end|>", "<|vision_reserved_special_token_0|>", "<|vision_reserved_special_token_1|>",
           "<|tile_x_separator|>", "<|tile_y_separator|>", *(f"<|vision_reserved_special_token_{i}|>" for i in range(2, 6)),
           "<|image|>", "<|vision_reserved_special_token_6|>", "<|patch|>"]
BASE = VOCAB - len(SPECIAL)


def split_rule():
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def text():
    """Digit runs become one digit, so that no merge holds a digit."""
    special = re.compile("|".join(re.escape(s) for s in SPECIAL))
    for t in corpus.sample_text(7, 12000):
        yield re.sub(r"\d+", "0", special.sub(" ", t))


def train():
    draft = Tokenizer(BPE())
    draft.pre_tokenizer = split_rule()
    draft.train_from_iterator(text(), trainers.BpeTrainer(vocab_size=BASE, min_frequency=1, show_progress=False,
                                                          initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(draft.to_str())["model"]
    assert len(model["vocab"]) == BASE, len(model["vocab"])
    assert not any(len(t) > 1 and re.search(r"\d", t) for t in model["vocab"])
    tk = Tokenizer(BPE(model["vocab"], [tuple(m) for m in model["merges"]], fuse_unk=False, ignore_merges=True))
    tk.pre_tokenizer = split_rule()
    tk.decoder = decoders.ByteLevel()
    tk.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in SPECIAL])
    bos = tk.token_to_id(SPECIAL[0])
    tk.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{SPECIAL[0]} $A", pair=f"{SPECIAL[0]}:0 $A:0 {SPECIAL[0]}:1 $B:1",
                                      special_tokens=[(SPECIAL[0], bos)])])
    assert tk.get_vocab_size() == VOCAB and bos == BASE
    return tk


def write(tk, out):
    os.makedirs(out, exist_ok=True)
    tk.save(os.path.join(out, "tokenizer.json"), pretty=False)
    names = {"bos_token": SPECIAL[0], "eos_token": "<|eot|>", "pad_token": "<|finetune_right_pad|>"}
    template = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "chat_template.jinja")).read()
    config = dict(names, clean_up_tokenization_spaces=False, model_input_names=["input_ids", "attention_mask"], model_max_length=16384,
                  tokenizer_class="PreTrainedTokenizerFast", chat_template=template)
    ids = tk.token_to_id
    generation = dict(bos_token_id=ids(SPECIAL[0]), do_sample=True, eos_token_id=[ids("<|end_of_text|>"), ids("<|eom|>"), ids("<|eot|>")],
                      pad_token_id=ids("<|finetune_right_pad|>"), temperature=0.6, top_p=0.9)
    for name, content in (("special_tokens_map.json", names), ("tokenizer_config.json", config), ("generation_config.json", generation)):
        with open(os.path.join(out, name), "w") as f:
            json.dump(content, f, indent=2)
            f.write("\n")
    with open(os.path.join(out, "chat_template.jinja"), "w") as f:
        f.write(template)


if __name__ == "__main__":
    write(train(), sys.argv[1])
