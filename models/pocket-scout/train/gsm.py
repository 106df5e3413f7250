"""Grade-school word problems in GSM8K's answer format, from gsm_templates.py.

Held out for the test split, two conditions at once:
- variant: each template has stories x asks variants; one of them (template number modulo their count) is used by the test split alone;
- numbers: the tuple of a problem's numbers, hashed with the template number, falls in 1 of 8 classes that the train split never uses.
The train split therefore holds neither a test problem's wording nor, for its template, its numbers.
"""
import random
import re
import zlib

from gsm_templates import TEMPLATES

FEMALE = """Emma Olivia Ava Mia Sofia Amelia Ella Lily Grace Chloe Zoe Nora Hannah Lucy Ruth Alice Clara Julia Maya Elena Anna Sara Leah
Ivy Rosa Eva Jane Nina Tina Carol Diana Helen Laura Maria Paula Rachel Susan Wendy Fatima Aisha Priya Mei Yuki Ingrid Freya Lina
Natalia Carmen Bella Daisy Fiona Gina Holly Kate Megan Penny Rita Tara Vera Janet""".split()
MALE = """Liam Noah Oliver James Lucas Henry Jack Leo Owen Daniel Samuel David Ben Adam Max Tom Peter Paul Mark John Robert Carl Eric
Frank George Ivan Jacob Kevin Luke Martin Nathan Oscar Patrick Ryan Simon Victor Walter Ahmed Omar Raj Kenji Wei Lars Sven Marco
Pedro Diego Carlos Andre Tim Bob Sam Alex Finn Hugo Felix Jonas Theo Miles Randy""".split()
THINGS = """apples oranges pears plums lemons peaches bananas grapes cherries mangoes marbles stickers stamps coins cards books pencils
pens crayons erasers notebooks balloons buttons beads shells stones flowers roses candles cups plates bowls spoons forks toys blocks
dolls puzzles kites balls hats scarves gloves socks shirts cookies muffins cupcakes donuts pies pancakes sandwiches pizzas eggs
tomatoes carrots potatoes onions peppers melons nuts almonds seeds leaves photos posters postcards letters magazines badges keys
ribbons bracelets rings bottles cans jars chairs lamps clocks bricks nails screws tiles planks candies lollipops chocolates
tickets bells paper-clips rocks feathers rulers brushes paintings baskets envelopes crackers bagels""".split()
PLACES = """market park library school museum bakery beach station farm zoo shop fair stadium theater harbor garden
bookstore playground office hospital airport pool gym cinema""".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def _compile(spec):
    lines, names = [], []
    for item in (x.strip() for x in spec.split(";")):
        assign = re.match(r"^([a-z])=(?!=)(.*)$", item)
        if not assign:
            lines.append(f"if not ({item}): continue")
            continue
        name, rhs = assign.groups()
        names.append(name)
        span = re.match(r"^(\d+)\.\.(\d+)$", rhs)
        if span:
            rhs = f"{span[1]} + int(r() * {int(span[2]) - int(span[1]) + 1})"
        elif rhs.startswith("["):
            rhs = f"{rhs}[int(r() * {len(eval(rhs))})]"
        lines.append(f"{name} = {rhs}")
    body = "\n".join("        " + x for x in lines)
    space = {}
    exec(f"def draw(r):\n    while True:\n{body}\n        return {{{', '.join(f'{n!r}: {n}' for n in names)}}}\n", space)
    return space["draw"]


DRAWS = [_compile(t[0]) for t in TEMPLATES]


def is_test_numbers(index, numbers):
    return zlib.crc32(repr((index, sorted(numbers.items()))).encode()) % 8 == 0


def problem(rng, split="train", index=None):
    """A dict with question, answer (steps and '#### n'), template, variant."""
    if index is None:
        index = rng.randrange(len(TEMPLATES))
    _, stories, asks, steps, answer = TEMPLATES[index]
    variants = len(stories) * len(asks)
    held = index % variants
    variant = held
    while split == "train" and variant == held:
        variant = rng.randrange(variants)
    while True:
        numbers = DRAWS[index](rng.random)
        if is_test_numbers(index, numbers) == (split != "train"):
            break
    female = rng.random() < 0.5
    who = rng.choice(FEMALE if female else MALE)
    other = who
    while other == who:
        other = rng.choice(FEMALE if rng.random() < 0.5 else MALE)
    things, second = rng.sample(THINGS, 2)
    he, his, him = ("she", "her", "her") if female else ("he", "his", "him")
    fill = dict(numbers, N=who, M=other, he=he, his=his, him=him, He=he.capitalize(), His=his.capitalize(),
                o=things.replace("-", " "), p=second.replace("-", " "), f=rng.choice(PLACES), d=rng.choice(DAYS))
    question = (stories[variant // len(asks)] + " " + asks[variant % len(asks)]).format_map(fill)
    solution = "\n".join(s.format_map(fill) for s in steps) + f"\n#### {numbers[answer]}"
    return {"question": question, "answer": solution, "template": index, "variant": variant}


def drill(rng):
    """Plain sums, so that the arithmetic of the steps is dense in training. Train split only."""
    kind = rng.randrange(4)
    if kind == 0:
        a, b = rng.randint(2, 999), rng.randint(2, 999)
        text, value = f"{a} + {b}", a + b
    elif kind == 1:
        a, b = sorted((rng.randint(2, 999), rng.randint(2, 999)), reverse=True)
        text, value = f"{a} - {b}", a - b
    elif kind == 2:
        a, b = rng.randint(2, 120), rng.randint(2, 12)
        if rng.random() < 0.5:
            a, b = b, a
        text, value = f"{a} * {b}", a * b
    else:
        b, value = rng.randint(2, 12), rng.randint(2, 99)
        text = f"{b * value} / {b}"
    return {"question": rng.choice(["What is {}?", "Compute {}.", "How much is {}?"]).format(text),
            "answer": f"{text} = {value}.\n#### {value}", "template": -1, "variant": 0}


def fewshot_text(problems):
    return "\n\n".join(f"Question: {p['question']}\nAnswer: {p['answer']}" for p in problems)


if __name__ == "__main__":
    rng = random.Random(1)
    for i in range(len(TEMPLATES)):
        for split in ("train", "test"):
            p = problem(rng, split, i)
            for expr, value in re.findall(r"([\d+*/ -]+\d) = (\d+)", p["answer"]):
                assert eval(expr) == int(value), p
    print(fewshot_text([problem(rng) for _ in range(8)]))
