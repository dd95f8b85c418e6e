// How good something is, as a colored word. The word always says it as well.

import { h } from '../core/dom.js';

const GOOD = ['Running', 'Active', 'Ready', 'Bound', 'Available', 'Complete', 'True', 'Healthy', 'Established', 'Normal'];
const WAITING = ['Pending', 'ContainerCreating', 'PodInitializing', 'Released', 'Suspended', 'Unknown', 'SchedulingDisabled', 'NotReady', 'Warning', 'SchedulingGated'];
const QUIET = ['Completed', 'Succeeded', 'Terminating', 'None', 'False'];
const BAD = /(Error|BackOff|Failed|Evicted|OOMKilled|Invalid|Lost|DeadlineExceeded|ErrImage|CannotRun|StartError|Unschedulable)/;

/** `good`, `wait`, `bad` or `quiet`. */
export function tone(word) {
  const text = String(word ?? '');
  if (BAD.test(text)) return 'bad';
  const first = text.split(/[,(]/);
  if (first.some((part) => WAITING.includes(part.trim())) || text.startsWith('Init:') || text.startsWith('PodInit')) return 'wait';
  if (GOOD.includes(first[0])) return 'good';
  if (QUIET.includes(first[0])) return 'quiet';
  return 'quiet';
}

export function chip(word, how = tone(word)) {
  const text = String(word ?? '–');
  return h('span', { class: `chip ${how}`, title: text }, h('i.dot', { 'aria-hidden': 'true' }), h('span.chip-text', text));
}

/** `2/3`: green when both are the same. */
export function ratio(text, known) {
  const found = /^(\d+)\/(\d+)$/.exec(text);
  if (!found) return String(text);
  const [, have, want] = found.map(Number);
  const how = known ?? (want === 0 ? 'quiet' : have >= want ? 'good' : have === 0 ? 'bad' : 'wait');
  return h('span', { class: `ratio ${how}` }, text);
}
