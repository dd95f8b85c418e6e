// Usage of nodes and pods, where metrics.k8s.io is served.
//
// The metrics API knows no watch: it is read while a view that shows usage is on the screen, and then only as often
// as its window moves.

import { request } from './api.js';
import { kinds } from './catalog.js';
import { quantity } from './format.js';

const PERIOD_MS = 15000;
const POINTS = 60;

class Gauge {
  constructor(plural) {
    this.plural = plural;
    this.readers = new Set();
    /** By `namespace/name`: the newest values and some of the past. */
    this.values = new Map();
    this.timer = 0;
  }

  async read() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (!this.readers.size || document.hidden || this.isReading) return;
    this.isReading = true;
    try {
      const list = await request(`/apis/metrics.k8s.io/v1beta1/${this.plural}`);
      const seen = new Set();
      for (const item of list.items ?? []) {
        const key = `${item.metadata.namespace ?? ''}/${item.metadata.name}`;
        seen.add(key);
        this.take(key, item);
      }
      for (const key of this.values.keys()) if (!seen.has(key)) this.values.delete(key);
      for (const reader of this.readers) reader(this);
    } catch { /* not served any more, or not yet: the columns stay empty */ }
    this.isReading = false;
    if (this.readers.size) this.timer = setTimeout(() => this.read(), PERIOD_MS);
  }

  take(key, item) {
    const parts = item.containers ?? [{ usage: item.usage }];
    const sum = (name) => parts.reduce((total, part) => total + (quantity(part.usage?.[name]) || 0), 0);
    const known = this.values.get(key) ?? { cpu: 0, memory: 0, history: [] };
    known.cpu = sum('cpu');
    known.memory = sum('memory');
    known.containers = item.containers;
    if (known.at !== item.timestamp) known.history.push({ cpu: known.cpu, memory: known.memory });
    known.at = item.timestamp;
    if (known.history.length > POINTS) known.history.shift();
    this.values.set(key, known);
  }
}

const gauges = { nodes: new Gauge('nodes'), pods: new Gauge('pods') };

export function isServed() {
  return kinds.has('pods.metrics.k8s.io');
}

/** Reads until `scope` ends; `reader` gets the gauge. Nothing happens where metrics are not served. */
export function gauge(scope, plural, reader) {
  const found = gauges[plural];
  if (!isServed()) return found;
  found.readers.add(reader);
  scope.add(() => found.readers.delete(reader));
  if (found.timer) {
    // Not at once: the view that asks is still being made.
    if (found.values.size) queueMicrotask(() => found.readers.has(reader) && reader(found));
  } else {
    found.read();
  }
  return found;
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) Object.values(gauges).forEach((one) => one.readers.size && one.read());
});
