"""--chat-template and the template fields of requests."""

import subprocess

import pytest
from conftest import BINARY, serve
from openai import BadRequestError, OpenAI

TEMPLATE = """{%- for m in messages %}
[{{ m.role }}] {{ m.content | trim }}
{% endfor %}
{%- if tools %}{{ tools | map(attribute='function') | map(attribute='name') | join(',') }}{% endif %}
{{- style | default('plain') }}{% if add_generation_prompt %}>{% endif %}"""
CHAT = [{"role": "user", "content": " Hi "}, {"role": "assistant", "content": "Yes"}]


def prompt_of(server, **fields):
    tokens = server.post("/tokenize", {"messages": CHAT, **fields})["tokens"]
    return server.post("/detokenize", {"tokens": tokens})["prompt"]


@pytest.fixture(scope="module")
def templated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    (folder / "chat.jinja").write_text(TEMPLATE)
    with serve(folder / "log", "--chat-template", str(folder / "chat.jinja"), "--trust-request-chat-template",
               "--default-chat-template-kwargs", '{"style": "short"}') as running:
        yield running


def test_a_template_file_makes_the_prompt(templated):
    assert prompt_of(templated) == "[user] Hi\n[assistant] Yes\nshort>"
    assert prompt_of(templated, add_generation_prompt=False, chat_template_kwargs={"style": "long"}) \
        == "[user] Hi\n[assistant] Yes\nlong"


def test_openais_client_chats_through_it(templated):
    client = OpenAI(base_url=templated.url + "/v1", api_key="EMPTY")
    reply = client.chat.completions.create(model=templated_model(client), messages=CHAT, max_tokens=4)
    own = client.chat.completions.create(model=templated_model(client), messages=CHAT, max_tokens=4,
                                         extra_body={"chat_template": "{{ messages[0].content }}"})
    assert own.usage.prompt_tokens < reply.usage.prompt_tokens
    with pytest.raises(BadRequestError, match="only users"):
        client.chat.completions.create(model=templated_model(client), messages=CHAT, extra_body={
            "chat_template": "{{ raise_exception('only users') }}"})


def templated_model(client):
    return client.models.list().data[0].id


def test_a_requests_template_is_refused_without_trust(server):
    body = {"messages": CHAT, "chat_template": "{{ messages }}"}
    for path in ("/v1/chat/completions", "/tokenize"):
        assert "--trust-request-chat-template is not set" in server.post(path, body, 400)["error"]["message"]
    body = {"messages": CHAT, "chat_template_kwargs": {"chat_template": "x"}}
    assert "untrusted" in server.post("/v1/chat/completions", body, 400)["error"]["message"]


def test_a_template_that_runs_forever_is_refused_and_the_server_lives(templated):
    source = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    reply = templated.post("/tokenize", {"messages": CHAT, "chat_template": source}, 400)
    assert "too much work" in reply["error"]["message"]
    assert prompt_of(templated).startswith("[user]")


@pytest.mark.parametrize("value, message", [
    ("no-such-file.jinja", "looks like a file path"), ("{{ broken", "template line 1"), ("{% nope %}", "'nope' is not known"),
])
def test_a_bad_template_ends_the_start_with_one_line(value, message):
    done = subprocess.run([BINARY, "serve", "--chat-template", value], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
