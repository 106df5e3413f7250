#!/usr/bin/env python3
"""Write tests/fixtures/chat/jinja_cases.jsonl: what jinja2, set up as transformers does, makes of templates.

Needs `pip install jinja2==3.1.6`. The first line holds the sets of variables by name, each other one a case: {"template",
"variables" (a name), and "output" or "error"}. First come shapes that chat templates have; the rest is random.
"""
import json
import pathlib
import random

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/fixtures/chat/jinja_cases.jsonl"


def environment():
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    return made


ENVIRONMENT = environment()


def case(template, name):
    out = {"template": template, "variables": name}
    try:
        out["output"] = ENVIRONMENT.from_string(template).render(**VARIABLES[name])
    except Exception as error:  # whatever Python raises: the other side must refuse too
        out["error"] = str(error)[:100]
    return out


CHAT = {
    "messages": [
        {"role": "system", "content": "  Be brief.\n"},
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "<think>\nadd\n</think>\n\n4", "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "image"}, {"type": "text", "text": "3 + 3?"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": {"a": 3, "b": 3.5, "c": None, "d": "é\"<"}}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "{\"sum\": 6}"},
        {"role": "user", "content": "Thanks"},
    ],
    "tools": [{"type": "function", "function": {"name": "add", "description": "Adds\nnumbers", "parameters": {
        "type": "object", "properties": {"a": {"type": "number", "description": "first"}, "b": {"type": ["number", "null"]}},
        "required": ["a", "b"]}}}],
    "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>",
}

# Own templates in the manner of what popular checkpoints carry.
SHAPES = [
    # turns with markers
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] if message['content'] is string else '') + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    # alternation checked
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] | trim %}{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}{% for m in loop_messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{{ m.role }}{% endfor %}",
    "{%- if messages[0].role == 'system' %}\n    {%- set system = messages[0].content|trim %}\n    {%- set rest = messages[1:] %}\n{%- else %}\n    {%- set system = '' %}\n    {%- set rest = messages %}\n{%- endif %}\n[INST] <<SYS>>\n{{ system }}\n<</SYS>>\n{% for m in rest if m.content is string %}\n  {%- if loop.first %}first {% endif %}\n{{ m.content }}{{ eos_token if m.role == 'assistant' else '' }}\n{% else %}\nnothing\n{% endfor %}",
    # namespace, reversed scan
    "{%- set ns = namespace(multi=true, last=messages|length - 1) %}{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}{%- if ns.multi and message.role == 'user' and message.content is string and not(message.content.startswith('<tool') and message.content.endswith('>')) %}{%- set ns.multi = false %}{%- set ns.last = index %}{%- endif %}{%- endfor %}{{ ns.last }}|{{ ns.multi }}",
    # thinking cut off
    "{% for m in messages %}{% if m.content is string and '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}/{{ m.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}{% endif %}{% endfor %}",
    # tools
    "{% if tools %}# Tools\n\n{% for tool in tools %}\n{{ tool | tojson }}\n{{ tool | tojson(indent=2) }}\n{% endfor %}{% endif %}{% for m in messages %}{% if m.tool_calls %}{% for call in m.tool_calls %}{% set call = call.function if call.function is defined else call %}<tool_call>\n{\"name\": \"{{ call.name }}\", \"arguments\": {{ call.arguments | tojson }}}\n</tool_call>{% if not loop.last %}, {% endif %}{% endfor %}{% endif %}{% endfor %}",
    # macros over schemas
    "{%- macro render_type(spec) -%}{%- if spec.type is string -%}{{ spec.type }}{%- elif spec.type is iterable -%}{{ spec.type | join(' | ') }}{%- else -%}any{%- endif -%}{%- endmacro -%}{%- macro args(p, required=[]) -%}{%- for name, spec in p.items() -%}{{ name }}{{ '' if name in required else '?' }}: {{ render_type(spec) }}{{ ', ' if not loop.last }}{%- endfor -%}{%- endmacro -%}{%- for tool in tools -%}// {{ tool.function.description | replace('\\n', ' ') }}\ntype {{ tool.function.name }} = ({{ args(tool.function.parameters.properties, tool.function.parameters.required) }}){%- endfor -%}",
    # content parts
    "{% for m in messages %}{% if m.content is none %}-{% elif m.content is string %}{{ m.content | trim }}{% else %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% elif part['type'] == 'image' %}<img>{% endif %}{% endfor %}{% endif %}|{% endfor %}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | map(attribute='role') | unique | join(',') }} {{ (messages | rejectattr('tool_calls') | list)[0].role }} {{ messages | selectattr('tool_calls', 'defined') | map(attribute='role') | list }}",
    "{%- for message in messages -%}{%- if loop.index0 > 2 -%}{%- break -%}{%- endif -%}{%- if message.role == 'system' -%}{%- continue -%}{%- endif -%}{{ loop.index }}{{ loop.revindex }}{{ loop.length }}{{ loop.previtem.role if loop.previtem is defined }}{{ loop.nextitem.role if not loop.last }}{{ loop.cycle('a', 'b') }};{%- endfor -%}",
    "{% set text %}\n  {{ messages[0].content }}\n{% endset %}[{{ text }}]{% filter upper %}abc {{ messages[1].role }}{% endfilter %}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{% call(x) wrap() %}{{ x }}{% endcall %}",
    "{% macro wrap(n) %}<{{ caller(n) }}>{% endmacro %}{% call(x) wrap(3) %}{{ x * 2 }}{% endcall %}{% raw %}{{ raw }}{%- endraw %}  {#- gone -#}  end",
    "{{ dict(a=1, b='x') }}{{ {'a': [1, 2.0, none, true], 'b': ('x', \"it's\")} }}{{ [1, 'a\\n', \"q'\\\"\"] }}{{ range(3) | list }}{{ range(10, 0, -3) | list }}",
    "{{ '%s is %d' % ('x', 3) }} {{ '{} {1} {a}'.format(1, 2, a=3) if false }}{{ '%s' | format('y') }}{{ 'a' ~ 1 ~ 2.5 ~ none ~ true }}{{ 7 // 2 }}{{ -7 // 2 }}{{ -7 % 3 }}{{ 7 / 2 }}{{ 2 ** 10 }}{{ 1e3 }}",
    "line\n  {% if true %}\n    in\n  {% endif %}\nend {%+ if true %} kept {%+ endif +%}\n\ntail\n\n",
    "  {%- set x = 1 -%}  a {{- x -}} b {{ x }} c\n{# comment #}\n  {# another #}\nd {% set y = 2 %}\ne",
    "{% set x = 0 %}{% for i in [1, 2, 3] %}{{ x }}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}",
    "{% for a, b in {'x': 1, 'y': 2}.items() %}{{ a }}={{ b }};{% endfor %}{% for k in {'p': 1} %}{{ k }}{% endfor %}{% for c in 'añb' %}{{ c }}.{% endfor %}{{ 'añb'[1] }}{{ 'añb'[::-1] }}{{ 'añb' | length }}",
    "{{ undefined_name }}{{ undefined_name is defined }}{{ messages[0].nothing is undefined }}{{ messages[0].nothing | default('d') }}{{ '' | default('e', true) }}{{ messages[0].nothing.more }}",
    "{{ messages.append(1) }}", "{{ messages[0].update({'a': 1}) }}", "{% include 'x' %}", "{{ 1 + 'a' }}", "{{ 'a' | nothing }}", "{{ x is nothing }}",
    "{% if %}{% endif %}", "{% for x in %}{% endfor %}", "{{ (1 }}", "{% endif %}", "{{ 'a }}", "{{ 1 / 0 }}", "{{ none.x }}", "{{ none() }}", "{% set x.y = 1 %}",
    "{{ 5 is divisibleby 5 and 4 is even and 3 is odd and not 3 is even }}{{ 'a' is in ['a'] }}{{ 3 is gt 2 }}{{ [] is sequence }}{{ missing is sequence }}{{ missing is iterable }}{{ {} is mapping }}{{ 'A' is upper }}{{ 1.5 is float }}{{ true is boolean }}{{ 1 is sameas 1 }}",
    "{{ ' a b  c ' | title }}{{ 'hELLO' | capitalize }}{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a b c'.split(' ', 1) }}{{ 'a.b.c'.rsplit('.', 1) }}{{ 'x\\ny\\r\\nz'.splitlines() }}{{ 'abcabc'.replace('b', 'X', 1) }}{{ 'aXbX'.find('X') }}{{ 'ab'.rjust(4, '.') }}{{ 'ab'.center(5, '*') }}{{ '-7'.zfill(4) }}",
    "{{ 'one\\n\\ntwo' | indent(2) }}|{{ 'one\\ntwo' | indent(2, true) }}|{{ '<a href=\"x\">' | escape }}|{{ 3.14159 | round(2) }}|{{ 2.5 | round }}|{{ '42' | int + 1 }}|{{ 'x' | int(7) }}|{{ '1.5' | float }}|{{ -3 | abs }}|{{ [3, 1, 2] | sort }}|{{ ['b', 'A', 'c'] | sort }}|{{ ['b', 'A'] | sort(case_sensitive=true) }}|{{ [1, 2] | sum }}|{{ {'b': 1, 'a': 2} | dictsort }}|{{ [1, 2, 1] | unique | list }}|{{ [4, 9] | max }}|{{ 'a b' | wordcount }}|{{ [1, 2] | first }}{{ [1, 2] | last }}|{{ 'abc' | reverse }}|{{ [1, 2] | reverse | list }}",
    "{{ [1, 2, 3][1:] }}{{ [1, 2, 3][:-1] }}{{ [1, 2, 3, 4][::2] }}{{ 'hello'[1:3] }}{{ [1, 2][5] is defined }}{{ (1, 2) + (3,) }}{{ [1] * 3 }}{{ 1 < 2 < 3 }}{{ 3 not in [1, 2] }}{{ not true or true }}{{ 'x' if false }}{{ 1 if 0 else 2 if 0 else 3 }}",
    "{{ {'a': {'b': [10, 20]}}.a.b[1] }}{{ {'items': 5}['items'] }}{{ {'items': 5}.items() | list }}{{ {'a': 1}.get('b', 2) }}{{ {'a': 1} | length }}{{ 'a' in {'a': 1} }}{{ {'a': 1} == {'a': 1.0} }}{{ [1, [2]] == [1, [2]] }}",
    "{{ messages[1:] | map(attribute='content') | select('string') | join('/') }}{{ [1, 2, 3, 4] | select('even') | list }}{{ ['a', 'B'] | map('upper') | join }}{{ [{'a': {'b': 2}}] | map(attribute='a.b') | list }}{{ [{'x': 2}, {'x': 1}] | sort(attribute='x') | map(attribute='x') | list }}",
]

VARIABLES = {"chat": CHAT, "random": {"s": "Hello 日 World", "t": "  x,y,,z \n", "n": 7, "f": 2.5, "z": 0, "b": True, "none_": None,
    "l": [3, 1, 2], "words": ["pear", "Apple", "fig"], "e": [], "d": {"k": "v", "n": 3, "in": {"deep": [1, 2]}},
    "rows": [{"r": "user", "c": "hi", "n": 2}, {"r": "assistant", "c": "yo", "n": 1}, {"r": "user", "c": "", "n": 3}]}}

TEXTS = ["", "a", "Hello World", " pad ", "x,y,z", "日本🌧", "it's \"q\"", "line\nbreak", "<|eot|>", "42", "3.5", "UPPER", "a-b c"]


class Maker:
    """Random templates over fixed variables. Types are mostly right, sometimes not."""

    def __init__(self, rng):
        self.rng = rng
        self.names = []

    def pick(self, *options):
        return self.rng.choice(options)

    def literal(self, text):
        out = text.replace("\\", "\\\\").replace("\n", "\\n")
        return "'" + out.replace("'", "\\'") + "'"

    def text(self, depth):
        if depth <= 0:
            return self.pick("s", "t", "words[0]", "d.k", "rows[0].c", "rows[-1]['r']", self.literal(self.rng.choice(TEXTS)), self.literal(self.rng.choice(TEXTS)))
        d = depth - 1
        kind = self.rng.randrange(16)
        if kind == 0:
            return f"({self.text(d)} ~ {self.any(d)})"
        if kind == 1:
            return f"({self.text(d)} + {self.text(d)})"
        if kind == 2:
            return f"({self.text(d)} if {self.boolean(d)} else {self.text(d)})"
        if kind == 3:
            return f"({self.text(d)} | {self.pick('upper', 'lower', 'trim', 'capitalize', 'title', 'reverse', 'string', 'escape', 'indent', 'indent(1, true)', 'tojson', 'tojson(ensure_ascii=true)')})"
        if kind == 4:
            return f"{self.text(d)}.{self.pick('upper', 'lower', 'strip', 'lstrip', 'rstrip', 'title', 'capitalize')}()"
        if kind == 5:
            return f"{self.text(d)}.replace({self.text(0)}, {self.text(0)})"
        if kind == 6:
            return f"{self.text(d)}[{self.pick('1:', ':-1', '::2', '::-1', ':3', '-3:', '2:1')}]"
        if kind == 7:
            return f"({self.list(d)} | join({self.text(0)}))"
        if kind == 8:
            return f"({self.any(d)} | tojson)"
        if kind == 9:
            return f"({self.any(d)} | tojson(indent={self.pick(0, 2, 4)}))"
        if kind == 10:
            return f"({self.text(d)} * {self.pick(-1, 0, 2)})"
        if kind == 11:
            return f"('%s-%s' % ({self.any(d)}, {self.any(0)}))"
        if kind == 12:
            return f"({self.pick('missing', 'd.missing', 'rows[9]', self.text(d))} | default({self.text(0)}{self.pick('', ', true')}))"
        if kind == 13:
            return f"{self.text(d)}.{self.pick('strip', 'lstrip', 'rstrip', 'removeprefix', 'removesuffix')}({self.text(0)})"
        if kind == 14:
            return f"({self.text(d)} | replace({self.text(0)}, {self.text(0)}))"
        return f"({self.any(d)} | string)"

    def number(self, depth):
        if depth <= 0:
            return str(self.pick("n", "z", "f", "l[1]", "d.n", "rows[1].n", 0, 1, 2, 5, -3, 10, 2.5, 0.1, 100000))
        d = depth - 1
        kind = self.rng.randrange(8)
        if kind <= 2:
            return f"({self.number(d)} {self.pick('+', '-', '*', '+', '-', '//', '%', '/')} {self.number(d)})"
        if kind == 3:
            return f"({self.any(d)} | {self.pick('length', 'int', 'float', 'count', 'abs', 'round', 'round(1)')})"
        if kind == 4:
            return f"({self.list(d)} | {self.pick('first', 'last', 'sum', 'max', 'min', 'length')})"
        if kind == 5:
            return f"{self.text(d)}.{self.pick('find', 'count', 'index')}({self.text(0)})"
        if kind == 6:
            return f"(-{self.number(d)})"
        return f"({self.number(d)} if {self.boolean(d)} else {self.number(d)})"

    def boolean(self, depth):
        if depth <= 0:
            return self.pick("b", "true", "false", "n", "e", "s", "none_", "missing")
        d = depth - 1
        kind = self.rng.randrange(9)
        if kind == 0:
            return f"({self.boolean(d)} {self.pick('and', 'or')} {self.boolean(d)})"
        if kind == 1:
            return f"(not {self.boolean(d)})"
        if kind == 2:
            return f"({self.number(d)} {self.pick('<', '>', '<=', '>=', '==', '!=')} {self.number(d)})"
        if kind == 3:
            return f"({self.any(d)} {self.pick('==', '!=')} {self.any(d)})"
        if kind == 4:
            return f"({self.any(d)} {self.pick('in', 'not in')} {self.list(d)})"
        if kind == 5:
            return f"({self.text(d)} {self.pick('in', 'not in', '<', '>')} {self.text(d)})"
        if kind == 6:
            return f"({self.any(d)} is {self.pick('', 'not ')}{self.pick('string', 'number', 'integer', 'float', 'boolean', 'none', 'mapping', 'iterable', 'sequence', 'defined', 'undefined', 'true', 'false')})"
        if kind == 7:
            return f"{self.text(d)}.{self.pick('startswith', 'endswith')}({self.text(0)})"
        return f"({self.number(d)} < {self.number(0)} <= {self.number(0)})"

    def list(self, depth):
        if depth <= 0:
            return self.pick("l", "words", "e", "[1, 'a', none]", "d['in'].deep", "range(4) | list", "rows | map(attribute='r') | list")
        d = depth - 1
        kind = self.rng.randrange(11)
        if kind == 0:
            return f"[{', '.join(self.any(d) for _ in range(self.rng.randrange(4)))}]"
        if kind == 1:
            return f"({self.list(d)} + {self.list(d)})"
        if kind == 2:
            return f"({self.list(d)})[{self.pick('1:', ':-1', '::2', '::-1', ':2', '-2:')}]"
        if kind == 3:
            return f"{self.text(d)}.split({self.pick('', self.literal(','), self.literal(' '), self.literal('l'))})"
        if kind == 4:
            return f"({self.list(d)} | {self.pick('list', 'reverse | list', 'sort', 'unique | list', 'sort(reverse=true)')})"
        if kind == 5:
            return f"(rows | {self.pick('selectattr', 'rejectattr')}('{self.pick('r', 'c', 'n', 'x')}'{self.pick('', ', ' + chr(39) + 'defined' + chr(39), ', ' + chr(39) + 'equalto' + chr(39) + ', ' + chr(39) + 'user' + chr(39))}) | map(attribute='{self.pick('c', 'n')}') | list)"
        if kind == 6:
            return f"({self.list(d)} | map('{self.pick('string', 'length', 'upper', 'trim', 'tojson')}') | list)"
        if kind == 7:
            return f"({self.list(d)} | {self.pick('select', 'reject')}('{self.pick('string', 'number', 'none', 'defined')}') | list)"
        if kind == 8:
            return f"({self.list(d)} if {self.boolean(d)} else {self.list(d)})"
        if kind == 9:
            return f"(d.{self.pick('keys', 'values', 'items')}() | list)"
        return f"({self.text(d)} | list)"

    def any(self, depth):
        kind = self.rng.randrange(10)
        if self.names and kind == 0:
            return self.rng.choice(self.names)
        if kind <= 3:
            return self.text(depth)
        if kind <= 5:
            return self.number(depth)
        if kind == 6:
            return self.boolean(depth)
        if kind == 7:
            return self.list(depth)
        if kind == 8:
            return self.pick("d", "rows[0]", "none_", "none", "{'a': 1, 'b': [s]}", "(1, 'x')")
        return self.pick("missing", "d.missing", "s", "n")

    def space(self):
        return self.pick("", "", " ", "\n", "  \n ", "text ", "\n  ")

    def tags(self):
        return self.pick("{%", "{%", "{%-", "{%+"), self.pick("%}", "%}", "-%}", "+%}")

    def block(self, body):
        begin, end = self.tags()
        return f"{begin} {body} {end}"

    def body(self, depth):
        return "".join(self.space() + self.statement(depth) for _ in range(self.rng.randrange(1, 4))) + self.space()

    def statement(self, depth):
        kind = self.rng.randrange(10)
        if depth <= 0 or kind <= 4:
            return self.pick("{{", "{{", "{{-") + " " + self.any(2) + " " + self.pick("}}", "}}", "-}}")
        if kind == 5:
            otherwise = self.block("else") + self.body(depth - 1) if self.rng.random() < 0.5 else ""
            middle = self.block("elif " + self.boolean(1)) + self.body(depth - 1) if self.rng.random() < 0.3 else ""
            return self.block("if " + self.boolean(2)) + self.body(depth - 1) + middle + otherwise + self.block("endif")
        if kind == 6:
            name = self.pick("i", "x", "row")
            condition = " if " + self.pick(name, name + " is string", self.boolean(0)) if self.rng.random() < 0.3 else ""
            head = self.block(f"for {name} in {self.list(1)}{condition}")
            self.names.append(name)
            inside = self.body(depth - 1) + "{{ " + self.pick("loop.index", "loop.last", "loop.first", "loop.revindex0", "loop.length", "loop.cycle('p', 'q')", name) + " }}"
            if self.rng.random() < 0.2:
                inside += self.block("if loop.index > 1") + self.block(self.pick("break", "continue")) + self.block("endif") + self.body(0)
            self.names.remove(name)
            otherwise = self.block("else") + self.body(0) if self.rng.random() < 0.3 else ""
            return head + inside + otherwise + self.block("endfor")
        if kind == 7:
            name = self.pick("v", "w")
            out = self.block(f"set {name} = {self.any(2)}")
            self.names.append(name)
            return out + "{{ " + name + " }}"
        if kind == 8:
            return self.block("set ns = namespace(a=0)") + self.block("for i in [1, 2, 3]") + self.block("set ns.a = ns.a + i") + self.block("endfor") + "{{ ns.a }}"
        return self.block("macro m(p, q='z')") + self.body(0) + "{{ p }}{{ q }}" + self.block("endmacro") + "{{ m(" + self.any(1) + self.pick("", ", q=1", ", " + self.any(0)) + ") }}"


def random_cases(rng, count):
    while count > 0:
        template = Maker(rng).body(2)
        made = case(template, "random")
        # Python's own names for objects and unordered kinds say nothing about templates.
        if len(template) > 700 or "object at 0x" in made.get("output", "") or "dict_" in made.get("output", ""):
            continue
        if "error" in made and rng.random() < 0.8:
            continue
        count -= 1
        yield made


def main():
    rng = random.Random(20251123)
    cases = [VARIABLES, *(case(template, "chat") for template in SHAPES), *random_cases(rng, 1200)]
    OUT.write_text("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in cases))
    print(len(cases), "cases,", sum("error" in c for c in cases), "of them errors")


if __name__ == "__main__":
    main()
