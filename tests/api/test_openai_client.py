"""The openai package as applications use it."""

import asyncio
import json

import openai
import pytest

MODEL = "scout"
GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="EMPTY", max_retries=0)


def ask(text):
    return [{"role": "user", "content": text}]


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["scout", "second"]


def test_completion_continues_the_recipes_prompt_in_english(client):
    reply = client.completions.create(model=MODEL, prompt="San Francisco is a", max_tokens=20, **GREEDY)
    assert reply.object == "text_completion"
    assert reply.usage.completion_tokens <= 20
    assert reply.choices[0].finish_reason in ("length", "stop")
    assert len(reply.choices[0].text.split()) >= 3


def test_streamed_completion_equals_the_whole_one(client):
    arguments = dict(model=MODEL, prompt="San Francisco is a", max_tokens=24, **GREEDY)
    whole = client.completions.create(**arguments)
    pieces, usage = [], None
    for event in client.completions.create(**arguments, stream=True, stream_options={"include_usage": True}):
        if event.choices:
            pieces.append(event.choices[0].text)
        else:
            usage = event.usage
    assert "".join(pieces) == whole.choices[0].text
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert usage.prompt_tokens == whole.usage.prompt_tokens


def test_streamed_chat_equals_the_whole_one(client):
    arguments = dict(model=MODEL, messages=ask("Who are you?"), max_tokens=32, **GREEDY)
    whole = client.chat.completions.create(**arguments)
    assert whole.choices[0].message.content
    events = list(client.chat.completions.create(**arguments, stream=True))
    assert events[0].choices[0].delta.role == "assistant"
    assert "".join(event.choices[0].delta.content or "" for event in events) == whole.choices[0].message.content
    assert events[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_tool_call_arrives_with_arguments_that_are_json(client):
    tools = [{"type": "function", "function": {"name": "get_weather", "description": "Get the weather of a city.",
              "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
    arguments = dict(model=MODEL, messages=ask("What is the weather in Paris?"), tools=tools, max_tokens=64, **GREEDY)
    choice = client.chat.completions.create(**arguments).choices[0]
    assert choice.finish_reason == "tool_calls", choice
    call = choice.message.tool_calls[0]
    # Which name it writes is the model's affair: that the call is told from text and its parts are whole is ours.
    assert call.function.name.isidentifier() and call.function.name.endswith("weather"), call
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    name, text, reason = "", "", None
    for event in client.chat.completions.create(**arguments, stream=True):
        for delta in event.choices[0].delta.tool_calls or []:
            name += delta.function.name or ""
            text += delta.function.arguments or ""
        reason = event.choices[0].finish_reason or reason
    assert (name, json.loads(text), reason) == (call.function.name, json.loads(call.function.arguments), "tool_calls")


def test_prompts_may_be_lists_of_texts_and_of_ids(client, server):
    ids = server.post("/tokenize", {"prompt": "San Francisco is a"})["tokens"]
    texts = ["San Francisco is a", "Paris is a"]
    batch = client.completions.create(model=MODEL, prompt=texts, max_tokens=8, **GREEDY)
    single = client.completions.create(model=MODEL, prompt=ids, max_tokens=8, **GREEDY)
    nested = client.completions.create(model=MODEL, prompt=[ids, ids], max_tokens=8, **GREEDY)
    assert [choice.index for choice in batch.choices] == [0, 1]
    assert batch.choices[0].text == single.choices[0].text == nested.choices[1].text


def test_the_same_seed_gives_the_same_text(client):
    arguments = dict(model=MODEL, prompt="San Francisco is a", max_tokens=16, temperature=1.0)
    texts = [client.completions.create(**arguments, seed=7).choices[0].text for _ in range(2)]
    assert texts[0] == texts[1]
    assert len({choice.text for choice in client.completions.create(**arguments, n=8).choices}) > 1


def test_stop_strings_end_the_text(client):
    free = client.completions.create(model=MODEL, prompt="San Francisco is a", max_tokens=24, **GREEDY).choices[0].text
    stop = free[len(free) // 2:len(free) // 2 + 4]
    cut = client.completions.create(model=MODEL, prompt="San Francisco is a", max_tokens=24, stop=[stop], **GREEDY)
    assert cut.choices[0].text == free[:free.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    assert cut.choices[0].stop_reason == stop


def test_logprobs_of_the_prompt_serve_loglikelihood(client):
    reply = client.completions.create(model=MODEL, prompt="San Francisco is a city", max_tokens=1, logprobs=1, echo=True,
                                      seed=1234, **GREEDY)
    logprobs = reply.choices[0].logprobs
    assert len(logprobs.token_logprobs) == reply.usage.prompt_tokens + 1
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    for token, value, top in list(zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs))[1:]:
        assert value <= max(top.values())
        assert top[token] == value
        assert value <= 0


def test_chat_logprobs_rank_the_greedy_token_first(client):
    reply = client.chat.completions.create(model=MODEL, messages=ask("Who are you?"), max_tokens=4, logprobs=True,
                                           top_logprobs=3, **GREEDY)
    for item in reply.choices[0].logprobs.content:
        assert len(item.top_logprobs) == 3
        assert item.token == item.top_logprobs[0].token
        assert item.logprob >= item.top_logprobs[1].logprob
        assert bytes(item.bytes).decode(errors="replace") == item.token


def test_extra_body_fields_reach_the_sampler(client):
    reply = client.completions.create(model=MODEL, prompt="San Francisco is a", max_tokens=12, **GREEDY,
                                      extra_body={"ignore_eos": True, "min_tokens": 12, "top_k": 1})
    assert reply.usage.completion_tokens == 12
    banned = client.completions.create(model=MODEL, prompt="San Francisco is a", max_tokens=1, logprobs=0, **GREEDY)
    token = banned.choices[0].logprobs.tokens[0]
    ids = client.completions.create(model=MODEL, prompt="San Francisco is a", max_tokens=1, logprobs=0, **GREEDY,
                                    extra_body={"return_tokens_as_token_ids": True}).choices[0].logprobs.tokens
    other = client.completions.create(model=MODEL, prompt="San Francisco is a", max_tokens=1, logprobs=0, **GREEDY,
                                      logit_bias={ids[0].removeprefix("token_id:"): -100})
    assert other.choices[0].logprobs.tokens[0] != token


def test_errors_become_the_clients_exceptions(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="nope", prompt="x")
    assert missing.value.body["message"] == "The model `nope` does not exist."
    with pytest.raises(openai.BadRequestError) as bad:
        client.completions.create(model=MODEL, prompt="x", top_p=0)
    assert bad.value.body["message"] == "top_p must be in (0, 1], got 0.0."
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model=MODEL, messages=ask("word " * 3000))
    assert "maximum context length is 2048 tokens" in long.value.body["message"]
    with pytest.raises(openai.APIError) as late:
        list(client.completions.create(model=MODEL, prompt="x", stream=True, logprobs=25))
    assert "greater than max allowed: 20" in late.value.message


def test_sixty_four_streams_at_once_are_all_served(server):
    async def one(client, index):
        text = ""
        stream = await client.completions.create(model=MODEL, prompt=f"{index} and {index} is", max_tokens=8, stream=True,
                                                 extra_body={"ignore_eos": True})
        async for event in stream:
            text += event.choices[0].text
        return text

    async def everything():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="x", max_retries=0) as client:
            return await asyncio.gather(*(one(client, index) for index in range(64)))

    assert len(asyncio.run(everything())) == 64


def test_a_prompts_text_does_not_depend_on_its_company(server):
    async def everything():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="x", max_retries=0) as client:
            async def one(prompt):
                reply = await client.completions.create(model=MODEL, prompt=prompt, max_tokens=16, temperature=0)
                return reply.choices[0].text
            alone = await one("San Francisco is a")
            crowd = await asyncio.gather(*(one("San Francisco is a") for _ in range(4)),
                                         *(one(f"Question {i}: how many") for i in range(12)))
            return alone, crowd[:4]

    alone, crowd = asyncio.run(everything())
    assert crowd == [alone] * 4
