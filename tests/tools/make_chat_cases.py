#!/usr/bin/env python3
"""Write the goldens of tests/fixtures/chat: Python's own answers (pip install --no-deps transformers; pip install jinja2).

json_cases.jsonl      JSON texts and json.dumps of their values in three forms
pythonic_cases.jsonl  replies and the calls that Python's ast finds in them, arguments by json.dumps
render_cases.jsonl    random chats rendered by Llama 4's official template, which transformers carries
llama4_official.jinja that template (transformers, Apache-2.0)
"""
import ast
import importlib.util
import json
import pathlib
import random
import re
import struct

from jinja2.sandbox import ImmutableSandboxedEnvironment

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/fixtures/chat"
STRINGS = ["", "a", "Zürich", "日本", "🌧️", "\n\t\"\\/", "\x00\x1f\x7f", "it's", 'say "hi"', "\u2028", "a;b", "{[(", ")]}", "<|eot|>", "true"]


def random_float(rng):
    while True:
        kind = rng.randrange(4)
        if kind == 0:
            value = struct.unpack("<d", rng.randbytes(8))[0]
        elif kind == 1:
            value = round(rng.uniform(-1000, 1000), rng.randrange(6))
        elif kind == 2:
            value = rng.choice([1, 5, 123456789, 2 ** 53]) * 10.0 ** rng.randint(-20, 20)
        else:
            value = rng.choice([0.0, -0.0, 1e16, 1e15, 123456789012345680.0, 1e-4, 1e-5, 5e-324, 1.7976931348623157e308])
        if value == value and abs(value) != float("inf"):
            return value


def random_value(rng, depth, big=False):
    kind = rng.randrange(7 if depth > 0 else 5)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice([0, 1, -1, 42, -7, 2 ** 53 + 1, -2 ** 63, 2 ** 64 - 1] + ([10 ** 30, -10 ** 25] if big else []))
    if kind == 2:
        return random_float(rng)
    if kind in (3, 4):
        return rng.choice(STRINGS) + rng.choice(STRINGS)
    if kind == 5:
        return [random_value(rng, depth - 1, big) for _ in range(rng.randrange(4))]
    return {rng.choice(STRINGS) + str(i): random_value(rng, depth - 1, big) for i in range(rng.randrange(4))}


def json_cases(rng):
    for _ in range(300):
        text = json.dumps(random_value(rng, 4), ensure_ascii=rng.random() < 0.5, separators=rng.choice([None, (",", ":")]))
        value = json.loads(text)
        yield {"text": text, "plain": json.dumps(value, ensure_ascii=False), "ascii": json.dumps(value),
               "indented": json.dumps(value, ensure_ascii=False, indent=4)}


def python_source(rng, value):
    """`value` as a model might write it."""
    if isinstance(value, str):
        form = rng.randrange(4)
        if form == 0:
            return json.dumps(value, ensure_ascii=rng.random() < 0.5).replace("\x7f", "\\x7f")
        if form == 1 and value and not set(value) & set("\\'\"\n\0"):
            return rng.choice(['"""%s"""', "'''%s'''", "r'%s'", "u\"%s\""]) % value
        if form == 2 and len(value) > 1:
            return repr(value[:1]) + " " + repr(value[1:])
        return repr(value)
    if isinstance(value, list):
        items = [python_source(rng, v) for v in value]
        if rng.random() < 0.2:
            return "(" + ", ".join(items) + ("," if len(items) == 1 else "") + ")"
        return "[" + rng.choice([", ", ",", " ,\n "]).join(items) + rng.choice(["", "," if items else ""]) + "]"
    if isinstance(value, dict):
        items = [python_source(rng, k) + rng.choice([":", ": "]) + python_source(rng, v) for k, v in value.items()]
        return "{" + ", ".join(items) + rng.choice(["", "," if items else ""]) + "}"
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2 ** 64:
        return rng.choice([str, str, str, hex, oct, bin, lambda v: f"{v:_}", lambda v: f"+{v}"])(value)
    return repr(value)


def calls_by_ast(text):
    """The calls in `text`, None when it is not a list of calls with keyword arguments and literal values."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if not isinstance(tree, ast.List) or not tree.elts:
            return None
        calls = []
        for call in tree.elts:
            if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
                return None
            arguments = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
            calls.append({"name": ast.unparse(call.func), "arguments": json.dumps(arguments)})
        return calls
    except (SyntaxError, ValueError, TypeError):
        return None


def pythonic_cases(rng):
    for i in range(400):
        calls = []
        for _ in range(rng.randint(1, 3)):
            keys = rng.sample(["city", "unit", "x", "values", "größe", "_k1"], rng.randrange(4))
            arguments = [f"{k}{rng.choice(['=', ' = '])}{python_source(rng, random_value(rng, 3, big=True))}" for k in keys]
            calls.append(rng.choice(["get_weather", "f", "api.v1.search"]) + "(" + ", ".join(arguments) + ")")
        text = "[" + ", ".join(calls) + rng.choice(["", ","]) + "]"
        if i % 4 == 3:  # damaged
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(["", "(", "]", ",", "'", "=", "x", "1"]) + text[at + 1:]
        yield {"text": text, "calls": calls_by_ast(text)}


def official_template():
    spec = importlib.util.find_spec("transformers")
    source = (pathlib.Path(spec.origin).parent / "models/llama4/processing_llama4.py").read_text()
    return ast.literal_eval(re.search(r"^chat_template = (\".*\")$", source, re.M).group(1))


def random_chat(rng, tools):
    content = lambda: rng.choice(STRINGS) + rng.choice([" ", "\n", "", "\u3000", "\x1f"]) + rng.choice(STRINGS)
    parts = lambda: [{"type": "text", "text": content()} for _ in range(rng.randint(1, 3))]
    messages = []
    if rng.random() < 0.5:
        messages.append({"role": "system", "content": rng.choice([content(), [{"type": "text", "text": content()}]])})
    messages.append({"role": "user", "content": " " + content() + "\n" if tools else rng.choice([content(), parts()])})
    for _ in range(rng.randrange(4)):
        kind = rng.randrange(4)
        if kind == 0:
            call = {"function": {"name": "f", "arguments": {"v": random_value(rng, 3)}}}
            messages.append({"role": "assistant", "content": rng.choice([content(), parts()]), "tool_calls": [call] * rng.randint(1, 2)})
        elif kind == 1:
            messages.append({"role": rng.choice(["tool", "ipython"]), "content": rng.choice([content(), {"r": random_value(rng, 2)}, [random_value(rng, 2)]])})
        else:
            messages.append({"role": rng.choice(["assistant", "user", "system"]), "content": rng.choice([content(), parts()])})
    return messages


def render_cases(rng):
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    template = environment.from_string(official_template())
    for _ in range(150):
        tools = [{"type": "function", "function": {"name": "f", "parameters": random_value(rng, 3)}}] if rng.random() < 0.4 else None
        messages = random_chat(rng, tools)
        options = {"add_generation_prompt": rng.random() < 0.7, "tools_in_user_message": rng.random() < 0.7}
        rendered = template.render(messages=messages, tools=tools, bos_token="<|begin_of_text|>", **options)
        yield {"messages": messages, "tools": tools, **options, "rendered": rendered}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "llama4_official.jinja").write_text(official_template(), encoding="utf-8")
    for make in (json_cases, pythonic_cases, render_cases):
        with open(OUT / f"{make.__name__}.jsonl", "w", encoding="utf-8") as out:
            out.writelines(json.dumps(case) + "\n" for case in make(random.Random(4)))


if __name__ == "__main__":
    main()
