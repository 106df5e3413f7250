// Prometheus text and what can be told from two samples of it.

// Sums of samples by name; buckets and their like are left out.
export function parse(text) {
  const values = new Map();
  for (const line of text.split('\n')) {
    if (!line.startsWith('vllm:')) continue;
    const name = line.slice(0, line.search(/[{ ]/));
    if (name.endsWith('_bucket') || name.endsWith('_created')) continue;
    const value = Number(line.slice(line.lastIndexOf(' ') + 1));
    values.set(name, (values.get(name) ?? 0) + value);
  }
  return values;
}

// What happened between two samples, `seconds` apart. A latency is null where nothing was observed.
export function between(before, after, seconds) {
  const now = (name) => after.get(`vllm:${name}`) ?? 0;
  const grown = (name) => now(name) - (before.get(`vllm:${name}`) ?? 0);
  const mean = (name) => {
    const count = grown(`${name}_count`);
    return count > 0 ? grown(`${name}_sum`) / count : null;
  };
  return {
    output: grown('generation_tokens_total') / seconds,
    prompt: grown('prompt_tokens_total') / seconds,
    running: now('num_requests_running'),
    waiting: now('num_requests_waiting'),
    kv: 100 * now('kv_cache_usage_perc'),
    ttft: mean('time_to_first_token_seconds'),
    itl: mean('inter_token_latency_seconds'),
  };
}

// The server was started anew: counters never fall.
export function restarted(before, after) {
  const total = 'vllm:generation_tokens_total';
  return (after.get(total) ?? 0) < (before.get(total) ?? 0);
}
