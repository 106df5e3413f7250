// Starts the page: asks the server about itself, then joins the parts.

import { get, keepKey, readKey } from './api.js';
import { Chat } from './chat.js';
import { Live } from './live.js';
import { setUp } from './sampling.js';

const part = (id) => document.getElementById(id);

function tell(ok) {
  part('state').dataset.ok = ok;
  const text = ok ? 'Connected' : 'No answer from the server';
  if (part('state').textContent !== text) part('state').textContent = text;
}

function askKey() {
  part('key-text').value = readKey();
  part('key-dialog').showModal();
  part('key-text').select();
}

function setUpKey(server) {
  part('key').hidden = !server.needs_key;
  part('key').addEventListener('click', askKey);
  part('key-cancel').addEventListener('click', () => part('key-dialog').close());
  part('key-dialog').querySelector('form').addEventListener('submit', (event) => {
    event.preventDefault();
    keepKey(part('key-text').value.trim());
    part('key-dialog').close();
    part('message').focus();
  });
  if (server.needs_key && readKey() === '') askKey();
}

// On a narrow screen one part is seen at a time.
function setUpViews() {
  const buttons = document.querySelectorAll('[data-shows]');
  for (const button of buttons) {
    button.addEventListener('click', () => {
      document.body.dataset.view = button.dataset.shows;
      for (const other of buttons) other.removeAttribute('aria-current');
      button.setAttribute('aria-current', 'true');
    });
  }
}

async function start() {
  const server = await (await get('web/server.json')).json();
  document.title = `${server.model} – Outrider`;
  part('model').textContent = `${server.model} on ${server.device}`;
  tell(true);
  setUp(server);
  new Chat(server, askKey);
  setUpKey(server);
  if (server.metrics) {
    new Live(server, tell).start();
  } else {
    part('live-off').hidden = false;
  }
}

setUpViews();
start().catch(() => tell(false));
