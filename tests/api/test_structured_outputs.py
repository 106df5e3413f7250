"""Outputs that must match: by the openai package against the real binary, at a temperature that breaks all else."""

import concurrent.futures
import json
import re
from typing import Literal, Optional

import openai
import pydantic
import pytest

MODEL = "scout"
HOT = {"model": MODEL, "temperature": 1.5}


class Address(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    street: str = pydantic.Field(max_length=20)
    number: int = pydantic.Field(ge=1, le=9999)


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    name: str = pydantic.Field(min_length=1, max_length=16)
    kind: Literal["citizen", "guest"]
    age: Optional[int] = pydantic.Field(ge=0, le=150)
    score: float = pydantic.Field(ge=0, le=1)
    tags: list[str] = pydantic.Field(min_length=1, max_length=3)
    address: Address

    @pydantic.field_validator("tags")
    @classmethod
    def short(cls, tags):
        assert all(len(tag) <= 40 for tag in tags)
        return tags


SCHEMA = Person.model_json_schema()
SCHEMA["properties"]["tags"]["items"]["maxLength"] = 12
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
ASK = [{"role": "user", "content": "Describe a person in the city of Zürich."}]
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "maximum": 9,
                                                                                           "minimum": 0}},
    "required": ["city", "days"]}}}
PING = {"type": "function", "function": {"name": "ping"}}


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="EMPTY", max_retries=0)


def many(call, seeds):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return list(pool.map(call, seeds))


@pytest.mark.long
def test_fifty_seeds_give_json_of_the_schema(client):
    def ask(seed):
        reply = client.chat.completions.create(messages=ASK, response_format=FORMAT, seed=seed, max_tokens=700, **HOT)
        return reply.choices[0]

    choices = many(ask, range(50))
    for choice in choices:
        assert choice.finish_reason == "stop", choice.message.content
        Person.model_validate_json(choice.message.content)
    assert len({choice.message.content for choice in choices}) > 45, "the draws differ"


def test_the_parse_helper_returns_the_model(client):
    reply = client.chat.completions.parse(messages=ASK, response_format=Address, seed=3, max_tokens=200, **HOT)
    assert isinstance(reply.choices[0].message.parsed, Address)


@pytest.mark.long
def test_json_object_gives_an_object_or_its_beginning(client):
    for seed in range(4):
        reply = client.chat.completions.create(messages=ASK, response_format={"type": "json_object"}, seed=seed,
                                               max_tokens=1200, **HOT)
        if reply.choices[0].finish_reason == "stop":
            assert isinstance(json.loads(reply.choices[0].message.content), dict)
        else:
            assert reply.choices[0].message.content.startswith("{")


@pytest.mark.parametrize("old", [False, True])
def test_choices_regexes_and_grammars_are_followed_in_both_spellings(client, old):
    def body(kind, value):
        return {"guided_" + kind: value} if old else {"structured_outputs": {kind: value}}

    def ask(kind, value, n=8):
        reply = client.completions.create(prompt="The answer is", max_tokens=60, seed=1, n=n,
                                          extra_body=body(kind, value), **HOT)
        assert all(choice.finish_reason == "stop" for choice in reply.choices)
        return [choice.text for choice in reply.choices]

    words = ["red", "green \"blue\"", "黄色", "red wine"]
    assert set(ask("choice", words)) <= set(words)
    pattern = r"(\+\d{1,3} )?[1-9]\d{2}-[a-f]{4,6}(é|ß)?"
    assert all(re.fullmatch(pattern, text) for text in ask("regex", pattern))
    grammar = 'root ::= sum\nsum ::= number (" + " number){1,3} " = " number\nnumber ::= [1-9] [0-9]?'
    assert all(re.fullmatch(r"[1-9]\d?( \+ [1-9]\d?){1,3} = [1-9]\d?", text) for text in ask("grammar", grammar))
    assert all(json.loads(text) in range(3, 9)
               for text in ask("json", {"type": "integer", "minimum": 3, "maximum": 8}))


def test_a_stream_equals_the_whole_reply(client):
    arguments = dict(messages=ASK, response_format=FORMAT, seed=11, max_tokens=700, logprobs=True, top_logprobs=2, **HOT)
    whole = client.chat.completions.create(**arguments).choices[0]
    events = [event.choices[0] for event in client.chat.completions.create(**arguments, stream=True)]
    assert "".join(event.delta.content or "" for event in events) == whole.message.content
    assert events[-1].finish_reason == whole.finish_reason == "stop"
    streamed = [entry.logprob for event in events if event.logprobs for entry in event.logprobs.content]
    assert streamed == [entry.logprob for entry in whole.logprobs.content]
    tokens = "".join(entry.token for entry in whole.logprobs.content)
    assert tokens.startswith(whole.message.content[:20])


def test_requests_without_a_grammar_are_the_same_beside_one(client, server):
    def plain(seed):
        reply = client.completions.create(prompt="San Francisco is a", max_tokens=40, seed=seed, logprobs=3, **HOT)
        return reply.choices[0].text, reply.choices[0].logprobs.token_logprobs

    def constrained(seed):
        return client.chat.completions.create(messages=ASK, response_format=FORMAT, seed=seed, max_tokens=300, **HOT)

    alone = [plain(seed) for seed in range(6)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        beside = [pool.submit(constrained, seed) for seed in range(6)]
        together = list(pool.map(plain, range(6)))
        alike = [constrained(seed).choices[0].message.content for seed in range(6)]
        assert [reply.result().choices[0].message.content for reply in beside] == alike
    assert together == alone


def test_limits_on_length_hold_and_a_whole_output_ends_before_them(client):
    def ask(**more):
        return client.completions.create(prompt="a", seed=2, extra_body=dict(structured_outputs={"regex": "ab{9}c?"}, **more),
                                         **HOT).choices[0]

    assert ask(max_tokens=2).finish_reason == "length"
    for more in ({}, {"ignore_eos": True}, {"min_tokens": 30}, {"ignore_eos": True, "min_tokens": 30}):
        whole = ask(max_tokens=40, **more)
        assert whole.finish_reason == "stop" and re.fullmatch("ab{9}c?", whole.text), more
    assert ask(max_tokens=40, ignore_eos=True).text.endswith("c")
    cut = ask(max_tokens=40, stop=["bbb"])
    assert (cut.text, cut.finish_reason, cut.stop_reason) == ("a", "stop", "bbb")


def calls_of(client, stream, choice, seed):
    """Name and arguments of each call; None where max_tokens came first."""
    reply = client.chat.completions.create(messages=ASK, tools=[WEATHER, PING], tool_choice=choice, seed=seed, model=MODEL,
                                           temperature=1.0, max_tokens=300, stream=stream)
    if not stream:
        choice = reply.choices[0]
        if choice.finish_reason == "length":
            return None
        assert choice.message.content == "" and choice.finish_reason == "stop", reply
        return [(call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    calls, content = {}, ""
    for event in reply:
        reason = event.choices[0].finish_reason
        content += event.choices[0].delta.content or ""
        for call in event.choices[0].delta.tool_calls or []:
            name, arguments = calls.get(call.index, ("", ""))
            calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
    if reason == "length":
        return None
    assert content == "" and reason == "tool_calls"
    return [calls[index] for index in sorted(calls)]


def check_call(name, arguments):
    if name == "ping":
        assert json.loads(arguments) == {}
        return
    assert name == "get_weather"
    arguments = json.loads(arguments)
    assert set(arguments) == {"city", "days"} and len(arguments["city"]) <= 12 and arguments["days"] in range(10)


def test_a_named_tools_call_has_arguments_of_its_schema_whole_and_streamed(client):
    named = {"type": "function", "function": {"name": "get_weather"}}
    whole, streamed = (many(lambda seed: calls_of(client, stream, named, seed), range(8)) for stream in (False, True))
    ended = [calls for calls in whole + streamed if calls is not None]
    assert len(ended) >= 12
    for calls in ended:
        assert [name for name, _ in calls] == ["get_weather"]
        check_call(*calls[0])
    assert whole == streamed


def test_a_required_call_is_one_of_the_tools_with_its_arguments(client):
    # So small a model goes on with call after call; what fits must be calls.
    for seed in range(4):
        reply = client.chat.completions.create(messages=ASK, tools=[WEATHER, PING], tool_choice="required", seed=seed,
                                               max_tokens=200, **HOT).choices[0]
        if reply.finish_reason == "stop":
            calls = [{"name": call.function.name, "parameters": json.loads(call.function.arguments)}
                     for call in reply.message.tool_calls]
        else:
            calls = json.loads(reply.message.content.rpartition(', {"name"')[0] + "]")
        assert calls
        for call in calls:
            assert set(call) == {"name", "parameters"}
            check_call(call["name"], json.dumps(call["parameters"]))


def test_without_parallel_tool_calls_a_required_call_is_one(client):
    reply = client.chat.completions.create(messages=ASK, tools=[PING], tool_choice="required", parallel_tool_calls=False,
                                           max_tokens=200, **HOT).choices[0]
    assert reply.finish_reason == "stop"
    assert [call.function.name for call in reply.message.tool_calls] == ["ping"]


@pytest.mark.parametrize("fields, line", [
    ({"guided_json": {"type": "strin"}}, "`guided_json`: Unsupported type"),
    ({"guided_json": "{"}, "`guided_json`: is not valid JSON"),
    ({"guided_regex": "(a"}, "`guided_regex`: Regex parsing error"),
    ({"structured_outputs": {"grammar": "root ::= x"}}, "`structured_outputs.grammar`: EBNF parser error"),
    ({"structured_outputs": {"json": {"not": {}}}}, "`structured_outputs.json`: the keyword `not` is not supported"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array", "uniqueItems": True}}}},
     "`response_format`: the keyword `uniqueItems` is not supported"),
    ({"guided_regex": "(" * 20000 + ")" * 20000}, "`guided_regex`: "),
    ({"guided_json": json.loads('{"anyOf":[' * 30 + "{}" + "]}" * 30), "n": 1}, None),
])
def test_what_cannot_be_compiled_is_400_in_one_line_and_the_server_lives(client, fields, line):
    def call(stream):
        return client.completions.create(prompt="a", max_tokens=4, stream=stream, extra_body=fields, **HOT)

    if line is None:
        assert call(False).choices
        return
    with pytest.raises(openai.BadRequestError) as error:
        call(False)
    assert line in error.value.message and "\n" not in error.value.message
    with pytest.raises(openai.APIError) as error:
        list(call(True))
    assert line in error.value.message
    assert client.completions.create(prompt="a", max_tokens=1, **HOT).choices
