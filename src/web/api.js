// The server's routes: addresses, the API key, errors, server-sent events.

// The page's own folder, so that a proxy's path before it is kept.
const base = new URL('.', location.href);
const keyName = 'outrider-api-key';

export const readKey = () => sessionStorage.getItem(keyName) ?? '';
export const keepKey = (key) => sessionStorage.setItem(keyName, key);

export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function messageOf(body, status) {
  try {
    const reply = JSON.parse(body);
    return reply.error?.message ?? reply.error ?? reply.message ?? reply.detail ?? body;
  } catch {
    return body || `HTTP ${status}`;
  }
}

async function checked(response) {
  if (response.ok) return response;
  throw new ServerError(response.status, String(messageOf(await response.text(), response.status)));
}

export async function get(path) {
  return checked(await fetch(new URL(path, base), { cache: 'no-store' }));
}

// Yields the events of a streamed answer.
export async function* stream(path, body, signal) {
  const headers = { 'Content-Type': 'application/json' };
  if (readKey()) headers.Authorization = `Bearer ${readKey()}`;
  const options = { method: 'POST', headers, body: JSON.stringify(body), signal };
  const response = await checked(await fetch(new URL(path, base), options));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split('\n\n');
    rest = events.pop();
    for (const event of events) {
      if (!event.startsWith('data: ')) continue;
      const data = event.slice('data: '.length);
      if (data === '[DONE]') return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ServerError(200, chunk.error.message);
      yield chunk;
    }
  }
}
