// Small pictures of numbers: lines over time, shares of a whole, meters.

import { h, s } from '../core/dom.js';

/** The points of a line in a box, newest at the right. Pure. */
export function line(values, width, height, top = Math.max(0, ...values)) {
  if (values.length === 0) return '';
  // The first reading is a level, not a point.
  if (values.length === 1) values = [values[0], values[0]];
  const step = width / (values.length - 1);
  const scale = top > 0 ? (height - 2) / top : 0;
  return values.map((value, i) => `${(i * step).toFixed(1)},${(height - 1 - value * scale).toFixed(1)}`).join(' ');
}

export function spark(values, label, { width = 120, height = 28, top } = {}) {
  const points = line(values, width, height, top);
  return s('svg.spark', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    points && s('polygon.area', { points: `0,${height} ${points} ${width},${height}` }),
    points && s('polyline.line', { points }));
}

/** `share` of 1 as a bar. */
export function meter(share, label) {
  const percent = Math.max(0, Math.min(100, share * 100));
  const how = percent > 90 ? 'bad' : percent > 75 ? 'wait' : 'good';
  return h('div.meter', { role: 'meter', 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-valuenow': Math.round(percent), 'aria-label': label },
    h('div', { class: `fill ${how}`, style: { width: `${percent}%` } }));
}

/** Parts `[count, tone, word]` of a whole as one bar. */
export function shares(parts, label) {
  const total = parts.reduce((sum, [count]) => sum + count, 0);
  const text = parts.filter(([count]) => count).map(([count, , word]) => `${count} ${word}`).join(', ');
  return h('div.shares', { role: 'img', 'aria-label': `${label}: ${text || 'none'}` },
    total === 0 ? h('div.part.none') : parts.filter(([count]) => count).map(([count, how]) => h('div', { class: `part ${how}`, style: { 'flex-grow': count } })));
}
