// The live view: asks for the metrics each second and draws the last minutes.

import { get } from './api.js';
import { Chart } from './chart.js';
import { outputCeiling, stepFloor } from './floor.js';
import { between, parse, restarted } from './metrics.js';

const longest = 300;  // seconds that are kept
const shortest = 60;  // seconds that a chart shows at least
const period = 1000;  // ms

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const significant = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

const rate = (value) => `${value < 10 ? significant.format(value) : whole.format(value)} tok/s`;
const percent = (value) => `${significant.format(value)} %`;
export const seconds = (value) =>
  value < 1 ? `${significant.format(1000 * value)} ms` : `${significant.format(value)} s`;

const latest = (values) => values.findLast((value) => value !== null) ?? null;

export class Live {
  // `tell(ok)` hears whether the server answered.
  constructor(server, tell) {
    this.server = server;
    this.tell = tell;
    this.history = [];
    const parent = document.getElementById('charts');
    this.charts = {
      output: new Chart(parent, { title: 'Output', show: rate, limit: 'ceiling', least: 10 }),
      requests: new Chart(parent, { title: 'Requests', show: (n) => whole.format(n), least: 2, series: 2 }),
      kv: new Chart(parent, { title: 'KV cache', show: percent, least: 10 }),
      ttft: new Chart(parent, { title: 'Time to first token', show: seconds, limit: 'floor' }),
      itl: new Chart(parent, { title: 'Inter-token latency', show: seconds, limit: 'floor' }),
    };
    const known = server.memory_bandwidth > 0;
    document.getElementById('floor-note').textContent = known
      ? `Floor: the weights that a step of these requests reads, at ${whole.format(server.memory_bandwidth / 1e9)} GB/s.`
      : 'No floor is drawn: the bandwidth of this device’s memory is not known.';
  }

  start() {
    const poll = async () => {
      if (!document.hidden) await this.sample();
      setTimeout(poll, period);
    };
    poll();
  }

  async sample() {
    try {
      const now = parse(await (await get('web/metrics')).text());
      this.tell(true);
      this.take(now, performance.now() / 1000);
    } catch {
      this.tell(false);
      this.last = null;
    }
  }

  // `values`: the metrics at `time`, in seconds.
  take(values, time) {
    if (this.last && !restarted(this.last.values, values)) {
      const step = between(this.last.values, values, time - this.last.time);
      this.history.push({ time, ...step });
      this.history = this.history.filter((entry) => entry.time > time - longest);
      this.draw(time);
      this.count(values);
    }
    this.last = { values, time };
  }

  draw(now) {
    const list = (pick) => this.history.map((entry) => ({ time: entry.time, value: pick(entry) }));
    const last = this.history.at(-1);
    const put = (chart, lists, limits, ...texts) =>
      chart.draw(lists.map(list), list(limits), now, span, texts);
    const none = () => null;
    const span = Math.min(longest, Math.max(shortest, now - this.history[0].time));
    document.getElementById('span').textContent = span > 90 ? `last ${Math.round(span / 60)} minutes` : 'last minute';
    const { output, requests, kv, ttft, itl } = this.charts;
    put(output, [(e) => e.output], (e) => outputCeiling(this.server, e.running), rate(last.output));
    put(requests, [(e) => e.running, (e) => e.waiting], none,
        `${last.running} running`, `${last.waiting} waiting`);
    put(kv, [(e) => e.kv], none, percent(last.kv));
    for (const [chart, name] of [[ttft, 'ttft'], [itl, 'itl']]) {
      const value = latest(this.history.map((entry) => entry[name]));
      const rows = (entry) => (name === 'itl' ? entry.running : 1);
      put(chart, [(e) => e[name]], (e) => stepFloor(this.server, rows(e)), value === null ? '' : seconds(value));
    }
  }

  count(values) {
    const of = (name) => values.get(`vllm:${name}`) ?? 0;
    const queries = of('prefix_cache_queries_total');
    const rows = {
      'Prompt tokens': `${whole.format(of('prompt_tokens_total'))}`,
      'Output tokens': `${whole.format(of('generation_tokens_total'))}`,
      'Prefix cache hits': queries > 0 ? percent((100 * of('prefix_cache_hits_total')) / queries) : '–',
      'Preemptions': whole.format(of('num_preemptions_total')),
    };
    const counts = document.getElementById('counts');
    counts.replaceChildren(...Object.entries(rows).map(([name, text]) => {
      const row = document.createElement('div');
      row.append(document.createElement('dt'), document.createElement('dd'));
      row.firstChild.textContent = name;
      row.lastChild.textContent = text;
      return row;
    }));
  }
}
