// The least time of a step: its weights are read from memory once, at the memory's bandwidth. The KV cache's bytes are
// not counted, so a step takes longer than this.

// Experts that `rows` tokens reach when each picks its own at random.
export function expertsReached(server, rows) {
  if (server.num_experts === 0) return 0;
  const missed = (1 - server.experts_per_token / server.num_experts) ** rows;
  return server.num_experts * (1 - missed);
}

// Bytes of weights for a step of `rows` tokens.
export function stepBytes(server, rows) {
  return server.step_weight_bytes + expertsReached(server, rows) * server.expert_weight_bytes;
}

// Seconds; null when the bandwidth is not known.
export function stepFloor(server, rows) {
  if (!(server.memory_bandwidth > 0)) return null;
  return stepBytes(server, Math.max(1, rows)) / server.memory_bandwidth;
}

// Tokens a second that no `rows` requests at a time can pass; null when the bandwidth is not known.
export function outputCeiling(server, rows) {
  const floor = stepFloor(server, rows);
  return floor === null || rows < 1 ? null : rows / floor;
}
