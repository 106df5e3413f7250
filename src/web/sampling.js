// The sampling controls and the part of a request's body that they stand for.

const control = (id) => document.getElementById(id);

// What a field holds as a whole number, or undefined: then the server's own default counts.
const wholeNumber = (id) => (control(id).value === '' ? undefined : Math.trunc(control(id).valueAsNumber));

function showValue(input) {
  document.querySelector(`output[for="${input.id}"]`).textContent = Number(input.value).toFixed(2);
}

export function setUp(server) {
  control('temperature').value = server.temperature ?? 1;
  control('top-p').value = server.top_p ?? 1;
  control('max-tokens').max = server.max_model_len;
  control('max-tokens').value = Math.min(512, Math.floor(server.max_model_len / 2));
  if (server.max_logprobs === 0) {
    control('logprobs').checked = false;
    control('logprobs').disabled = true;
  }
  for (const id of ['temperature', 'top-p']) {
    showValue(control(id));
    control(id).addEventListener('input', () => showValue(control(id)));
  }
}

export const systemPrompt = () => control('system').value.trim();

export function parameters(server) {
  const alternatives = server.max_logprobs < 0 ? 5 : Math.min(5, server.max_logprobs);
  const chances = control('logprobs').checked ? { logprobs: true, top_logprobs: alternatives } : {};
  return {
    temperature: control('temperature').valueAsNumber,
    top_p: control('top-p').valueAsNumber,
    max_tokens: wholeNumber('max-tokens'),
    seed: wholeNumber('seed'),
    ...chances,
  };
}
