"""Training rows of SEQ tokens from the four generators. The high bit of a token (MASK) says: do not train on predicting it."""
import random

import numpy as np

import chat
import cities
import gsm
import tools

SEQ = 2048
MASK = 0x8000
BOS = ("<|begin_of_text|>", False)


def gsm_document(rng):
    shots = rng.choice([1, 3, 6, 6, 8, 16])
    items = [gsm.drill(rng) if rng.random() < 0.12 else gsm.problem(rng) for _ in range(shots)]
    return [BOS, (gsm.fewshot_text(items) + "<|end_of_text|>", True)]


def city_document(rng):
    return [BOS, (cities.document(rng) + "<|end_of_text|>", True)]


SOURCES = [(gsm_document, 0.52), (city_document, 0.10), (chat.document, 0.16), (tools.document, 0.22)]


def encode(tokenizer, documents):
    """Documents as lists of (text, trained on?) -> lists of token ids with MASK bits. Pieces meet at special tokens, so encoding them apart is exact."""
    pieces = [p for d in documents for p in d]
    codes = tokenizer.encode_batch_fast([t for t, _ in pieces], add_special_tokens=False)
    out, i = [], 0
    for d in documents:
        ids = []
        for _, trained in d:
            part = codes[i].ids
            ids += part if trained else [t | MASK for t in part]
            i += 1
        out.append(ids)
    return out


def rows(tokenizer, seed, count, size=SEQ, shares=None):
    """uint16 [count, size]. A row is of one source; its documents follow one another, the last one is cut."""
    rng = random.Random(seed)
    shares = shares or [share for _, share in SOURCES]
    tokens_of = [0.0] * len(SOURCES)
    pools = [[] for _ in SOURCES]
    out = np.zeros((count, size), np.uint16)
    for r in range(count):
        total = sum(tokens_of) + 1
        k = min(range(len(SOURCES)), key=lambda i: tokens_of[i] / total - shares[i])
        tokens_of[k] += size
        row = []
        while len(row) < size:
            if not pools[k]:
                pools[k] = encode(tokenizer, [SOURCES[k][0](rng) for _ in range(min(64, 2 * count + 8))])
            row += pools[k].pop()
        out[r] = row[:size]
    return out


def sample_text(seed, count):
    """Plain text of all sources for the tokenizer's training."""
    rng = random.Random(seed)
    for _ in range(count):
        for source, _ in SOURCES:
            yield "".join(t for t, _ in source(rng))
