// The conversation: sends it, shows the answer as it comes, keeps it for the next turn.

import { ServerError, stream } from './api.js';
import { add } from './dom.js';
import { seconds } from './live.js';
import { parameters, systemPrompt } from './sampling.js';
import { hideTip, tokenSpans, watchTokens } from './tokens.js';

const part = (id) => document.getElementById(id);
const log = part('log');
const announce = part('announce');

const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;

// An answer on the page.
class Answer {
  constructor() {
    this.box = add(log, 'article', 'answer');
    this.box.setAttribute('aria-label', 'Answer');
    this.box.setAttribute('aria-busy', 'true');
    this.body = add(this.box, 'div', 'text');
    this.meta = add(this.box, 'p', 'meta muted');
    this.text = '';
    this.tokens = 0;
    this.pending = [];  // tokens whose text has not come: part of a character, or of a stop string
    this.spans = [];  // not yet on the page, which is changed once a frame
    this.start = performance.now();
    watchTokens(this.body);
  }

  take(chunk) {
    this.tokens = chunk.usage?.completion_tokens ?? this.tokens;
    const [choice] = chunk.choices;
    if (!choice) return;
    this.pending.push(...(choice.logprobs?.content ?? []));
    this.reason = choice.finish_reason ?? this.reason;
    const text = choice.delta?.content ?? '';
    if (text === '') return;
    this.first ??= performance.now();
    if (this.spans.length === 0) requestAnimationFrame(() => this.show());
    this.spans.push(...tokenSpans(text, this.pending));
    this.pending = [];
    this.text += text;
  }

  show() {
    const follow = isAtEnd();
    this.body.append(...this.spans);
    this.spans = [];
    if (follow) log.scrollTop = log.scrollHeight;
  }

  // `outcome`: how it ended, when not as it should.
  finish(outcome) {
    this.show();
    this.box.setAttribute('aria-busy', 'false');
    if (this.body.querySelector('.token')) {
      this.body.tabIndex = 0;
      this.body.setAttribute('role', 'group');
      this.body.setAttribute('aria-label', 'Answer; the arrow keys go from token to token');
    }
    this.meta.textContent = [...this.figures(), outcome ?? this.reason].filter(Boolean).join(' · ');
  }

  figures() {
    if (!this.first) return [];
    const decode = (performance.now() - this.first) / 1000;
    const figures = [`first token ${seconds((this.first - this.start) / 1000)}`];
    if (this.tokens > 1 && decode > 0) {
      figures.unshift(`${this.tokens} tokens`, `${((this.tokens - 1) / decode).toFixed(0)} tok/s`);
    }
    return figures;
  }

  fail(message) {
    const alert = add(this.box, 'p', 'error', message);
    alert.setAttribute('role', 'alert');
    this.finish('failed');
  }
}

export class Chat {
  // `askKey` is called when the server refuses the key.
  constructor(server, askKey) {
    this.server = server;
    this.askKey = askKey;
    this.messages = [];
    this.hint = part('empty').textContent;
    part('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.send();
    });
    part('message').addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    document.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      hideTip();
      this.stop();
    });
    part('stop').addEventListener('click', () => this.stop());
    part('clear').addEventListener('click', () => this.clear());
  }

  get busy() {
    return this.control !== undefined;
  }

  stop() {
    this.control?.abort();
  }

  clear() {
    this.stop();
    this.messages = [];
    hideTip();
    log.replaceChildren();
    add(log, 'p', 'muted', `A new conversation. ${this.hint}`).id = 'empty';
    part('message').focus();
  }

  async send() {
    const text = part('message').value.trim();
    if (text === '' || this.busy) return;
    part('message').value = '';
    part('empty')?.remove();
    const said = add(log, 'article', 'said', text);
    said.setAttribute('aria-label', 'You');
    this.messages.push({ role: 'user', content: text });
    await this.answer(this.messages);
  }

  // `messages`: the conversation that the answer belongs to, which may be over when it comes.
  async answer(messages) {
    const answer = new Answer();
    log.scrollTop = log.scrollHeight;
    this.setBusy(new AbortController());
    announce.textContent = 'Answering';
    try {
      const system = systemPrompt() ? [{ role: 'system', content: systemPrompt() }] : [];
      const body = {
        model: this.server.model, messages: [...system, ...messages], stream: true,
        stream_options: { include_usage: true, continuous_usage_stats: true }, ...parameters(this.server),
      };
      for await (const chunk of stream('v1/chat/completions', body, this.control.signal)) answer.take(chunk);
      answer.finish();
      announce.textContent = answer.text;
    } catch (error) {
      this.explain(error, answer);
    }
    if (answer.text) messages.push({ role: 'assistant', content: answer.text });
    this.setBusy(undefined);
  }

  explain(error, answer) {
    if (error.name === 'AbortError') {
      answer.finish('stopped');
      announce.textContent = 'Stopped';
      return;
    }
    const unreachable = 'The server cannot be reached.';
    answer.fail(error instanceof ServerError ? error.message : unreachable);
    if (error.status === 401) this.askKey();
  }

  setBusy(control) {
    this.control = control;
    const hadFocus = document.activeElement === part(control ? 'send' : 'stop');
    part('send').hidden = this.busy;
    part('stop').hidden = !this.busy;
    if (hadFocus) part(control ? 'stop' : 'message').focus();
  }
}
