// An answer's tokens: each a span, shaded by its probability, with its alternatives on hover or under the arrow keys.

const tip = document.getElementById('tip');
const announce = document.getElementById('announce');
const chances = new WeakMap();  // span -> tokens of {token, logprob, top_logprobs}

// White space made visible.
const visible = (text) => text.replaceAll(' ', '␣').replaceAll('\n', '⏎').replaceAll('\t', '⇥') || '∅';
const share = (logprob) => Math.exp(logprob);
const percent = (logprob) => `${(100 * share(logprob)).toFixed(1)} %`;
const logarithm = (logprob) => (logprob > -0.005 ? '0.00' : logprob.toFixed(2));

function shade(probability) {
  if (probability < 0.2) return ' p0';
  if (probability < 0.5) return ' p1';
  return probability < 0.9 ? ' p2' : '';
}

// `tokens` may be several for one text: the pieces of a character.
export function tokenSpan(text, tokens) {
  const span = document.createElement('span');
  span.textContent = text;
  if (tokens.length > 0) {
    span.className = `token${shade(Math.min(...tokens.map(({ logprob }) => share(logprob))))}`;
    chances.set(span, tokens);
  }
  return span;
}

// One span a token where the tokens' texts make up `text`, else one for all.
export function tokenSpans(text, tokens) {
  if (tokens.length > 0 && tokens.map(({ token }) => token).join('') === text) {
    return tokens.map((token) => tokenSpan(token.token, [token]));
  }
  return text === '' ? [] : [tokenSpan(text, tokens)];
}

function row(token, isChosen) {
  const line = document.createElement('div');
  line.className = isChosen ? 'alternative chosen' : 'alternative';
  const bar = document.createElement('meter');
  bar.value = share(token.logprob);
  for (const text of [visible(token.token), percent(token.logprob), logarithm(token.logprob)]) {
    const cell = document.createElement('span');
    cell.textContent = text;
    line.append(cell);
  }
  line.insertBefore(bar, line.children[1]);
  return line;
}

function place(span) {
  const box = span.getClientRects()[0];
  if (!box) return hideTip();
  tip.hidden = false;
  const left = Math.min(box.left, innerWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 6;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above > 8 ? above : box.bottom + 6}px`;
}

export function hideTip() {
  tip.hidden = true;
  document.querySelector('.token.current')?.classList.remove('current');
}

function showTip(span) {
  hideTip();
  span.classList.add('current');
  const lines = chances.get(span).flatMap((token) => {
    const others = (token.top_logprobs ?? []).filter((other) => other.token !== token.token);
    const all = [token, ...others].sort((a, b) => b.logprob - a.logprob);
    return all.map((other) => row(other, other === token));
  });
  tip.replaceChildren(...lines);
  place(span);
}

function say(span) {
  const [token] = chances.get(span);
  announce.textContent = `${token.token.trim() || visible(token.token)}: ${percent(token.logprob)}`;
}

function neighbour(spans, current, key) {
  const at = spans.indexOf(current);
  if (key === 'Home') return spans[0];
  if (key === 'End') return spans.at(-1);
  if (key === 'ArrowRight') return spans[Math.min(at + 1, spans.length - 1)];
  return spans[Math.max(at - 1, 0)];
}

// `text`: the element that holds an answer's spans.
export function watchTokens(text) {
  text.addEventListener('mouseover', ({ target }) => {
    if (chances.has(target)) showTip(target);
  });
  text.addEventListener('mouseleave', hideTip);
  text.addEventListener('blur', hideTip);
  text.addEventListener('keydown', (event) => {
    if (!['ArrowRight', 'ArrowLeft', 'Home', 'End'].includes(event.key)) return;
    const spans = [...text.children].filter((span) => chances.has(span));
    if (spans.length === 0) return;
    event.preventDefault();
    const span = neighbour(spans, text.querySelector('.token.current'), event.key);
    span.scrollIntoView({ block: 'nearest' });
    showTip(span);
    say(span);
  });
}
