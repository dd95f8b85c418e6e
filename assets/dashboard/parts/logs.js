// Logs of a pod's containers, or of all pods of a workload, as they come.
//
// One WebSocket per followed container. Lines are kept in blocks that the browser lays out only when they come into
// sight; the oldest block goes when there are too many.

import { h, put } from '../core/dom.js';
import { follow, request, socket } from '../core/api.js';
import { plural } from '../core/format.js';
import { icon } from './icon.js';
import { Lines, styled } from '../core/text.js';
import { paintRun } from './terminal.js';

const TAIL = 1000;
const BLOCK = 200;
const BLOCKS_MAX = 60;
/** A container that restarts gets a moment to begin. */
const AGAIN_MS = 400;
/** Between attempts to follow again after the connection broke. */
const LOST_MS = 2000;
/** How a WebSocket ends when the container's log does. */
const FINE = 1000;
const TOGETHER_MS = 400;
const LINE_MAX = 20000;

/** What is followed: one container of one pod. */
function targetOf({ pod, path }, container, label) {
  return { key: `${pod.metadata.name}/${container}`, name: pod.metadata.name, path, container, label, from: `tailLines=${TAIL}` };
}

/** The same, from its last line on. */
function since(target) {
  return target.lastTime ? { ...target, from: `sinceTime=${target.lastTime}`, after: target.lastTime } : target;
}

function containersOf(pod) {
  const { initContainers, containers, ephemeralContainers } = pod.spec ?? {};
  return [containers, initContainers, ephemeralContainers].flatMap((list) => list ?? []).map((one) => one.name);
}

function mainOf(pod) {
  return pod.metadata.annotations?.['kubectl.kubernetes.io/default-container'] ?? containersOf(pod)[0];
}

/** Changes whenever a container has started or ended. */
function runsOf(pod) {
  const { initContainerStatuses, containerStatuses, ephemeralContainerStatuses } = pod.status ?? {};
  return [initContainerStatuses, containerStatuses, ephemeralContainerStatuses].flatMap((list) => list ?? []).map((one) => `${one.restartCount}${one.state?.running ? 'r' : ''}`).join();
}

/** Whether a container has written anything that could be read, or may. */
function hasStarted(pod, container) {
  const { initContainerStatuses, containerStatuses, ephemeralContainerStatuses } = pod.status ?? {};
  const status = [initContainerStatuses, containerStatuses, ephemeralContainerStatuses].flatMap((list) => list ?? []).find((one) => one.name === container);
  return Boolean(status?.state?.running || status?.state?.terminated || status?.lastState?.terminated);
}

export class LogView {
  /** `sources`: `{pod, path}` of one pod, or with `isGroup` of all pods of a workload. */
  constructor(scope, { sources, isGroup = false }) {
    this.sources = sources;
    this.isGroup = isGroup;
    this.lines = [];
    this.count = 0;
    this.sockets = new Map();
    this.ended = new Map();
    this.isAtEnd = true;
    this.needle = '';
    this.waiting = [];
    this.build();
    // Another size leaves one at the end who was there.
    const observer = new ResizeObserver(() => this.isAtEnd && this.jump());
    observer.observe(this.list);
    scope.add(() => observer.disconnect());
    scope.add(() => this.close());
    scope.listen(document, 'visibilitychange', () => (document.hidden ? this.close() : this.start()));
    this.start();
  }

  build() {
    this.choice = h('select', { 'aria-label': this.isGroup ? 'Pod' : 'Container', onchange: () => this.start() });
    this.offer();
    this.previous = this.toggle('clock', 'Previous', false, () => this.start(), 'The container before its last restart');
    this.times = this.toggle('clock', 'Times', false, (on) => this.list.classList.toggle('times', on));
    this.wrap = this.toggle('wrap', 'Wrap', true, (on) => this.list.classList.toggle('wrap', on));
    this.find = h('input.search-input', {
      type: 'search', placeholder: 'Find in logs', 'aria-label': 'Find in logs', spellcheck: 'false',
      oninput: () => { this.needle = this.find.value.toLowerCase(); this.redraw(); },
    });
    this.found = h('span.muted');
    this.list = h('div.log.wrap', { tabindex: '0', role: 'log', 'aria-label': 'Logs', onscroll: () => this.scrolled() });
    this.state = h('span.muted', { 'aria-live': 'polite' });
    this.toEnd = h('button.button.to-end', { type: 'button', hidden: true, onclick: () => this.jump() }, icon('down'), 'Newest');
    this.el = h('div.logs',
      h('div.bar', this.choice, h('label.search.small', icon('search'), this.find), this.found, h('span.spring'), this.times.el, this.wrap.el, this.previous.el,
        h('button.button', { type: 'button', title: 'Download', 'aria-label': 'Download', onclick: () => this.download() }, icon('download'))),
      h('div.log-pane', this.list, this.toEnd), h('div.log-state', this.state));
  }

  /** What can be chosen from. */
  offer() {
    const before = this.choice.value;
    const option = (value, text) => h('option', { value }, text);
    if (this.isGroup) {
      put(this.choice, option('*', `All pods (${this.sources.length})`), this.sources.map(({ pod }) => option(pod.metadata.name, pod.metadata.name)));
      this.choice.value = this.sources.some(({ pod }) => pod.metadata.name === before) ? before : '*';
    } else {
      const names = containersOf(this.sources[0].pod);
      put(this.choice, names.map((name) => option(name, name)), names.length > 1 && option('*', 'All containers'));
      this.choice.value = before || mainOf(this.sources[0].pod);
    }
  }

  targets() {
    const wanted = this.choice.value;
    if (this.isGroup) {
      const chosen = this.sources.filter(({ pod }) => wanted === '*' || pod.metadata.name === wanted);
      return chosen.map((source) => targetOf(source, mainOf(source.pod), wanted === '*' && source.pod.metadata.name));
    }
    const names = wanted === '*' ? containersOf(this.sources[0].pod) : [wanted];
    return names.map((name) => targetOf(this.sources[0], name, wanted === '*' && name));
  }

  toggle(name, text, isOn, onchange, title) {
    const box = { isOn };
    box.el = h('button.button.toggle', {
      type: 'button', 'aria-pressed': String(isOn), title,
      onclick: () => {
        box.isOn = !box.isOn;
        box.el.setAttribute('aria-pressed', String(box.isOn));
        onchange(box.isOn);
      },
    }, text);
    return box;
  }

  close() {
    this.generation = (this.generation ?? 0) + 1;
    for (const one of this.sockets.values()) one.close();
    this.sockets.clear();
    this.ended.clear();
    clearTimeout(this.timer);
  }

  start() {
    this.close();
    if (document.hidden) return;
    this.clear();
    this.begun = performance.now();
    const targets = this.targets();
    this.say(targets.length ? 'Loading…' : 'There are no pods yet; their logs appear here.');
    for (const target of targets) this.follow(target);
  }

  clear() {
    this.lines = [];
    this.waiting = [];
    this.count = 0;
    put(this.list);
    this.block = null;
    this.isAtEnd = true;
  }

  say(text) { this.state.textContent = text; }

  async follow(target) {
    const { generation } = this;
    const source = this.sources.find(({ pod }) => pod.metadata.name === target.name);
    if (source && !hasStarted(source.pod, target.container)) {
      this.ended.set(target.key, target);
      if (!this.sockets.size) this.say('The container has not started yet; its logs appear here when it does.');
      return;
    }
    const query = `container=${encodeURIComponent(target.container)}&timestamps=true&${target.from}`;
    if (this.previous.isOn) {
      try {
        const text = await request(`${target.path}/log?${query}&previous=true`, { accept: '*/*' });
        if (generation !== this.generation) return;
        this.take(new Lines().push(text), target);
        this.say('The container before its last restart');
      } catch (error) {
        if (generation === this.generation) this.say(error.message);
      }
      return;
    }
    const opened = socket(`${target.path}/log?${query}&follow=true`, ['binary.k8s.io']);
    this.sockets.set(target.key, opened);
    const isMine = () => generation === this.generation && this.sockets.get(target.key) === opened;
    const decoder = new TextDecoder();
    const lines = new Lines();
    let isOpen = false;
    opened.onopen = () => { isOpen = true; if (isMine()) this.say('Live'); };
    opened.onmessage = (message) => {
      if (isMine()) this.take(lines.push(decoder.decode(message.data, { stream: true })), target);
    };
    opened.onclose = ({ code }) => {
      if (!isMine()) return;
      this.sockets.delete(target.key);
      if (isOpen && code !== FINE) return this.again(target);
      this.ended.set(target.key, target);
      if (!isOpen) this.explain(target);
      else if (!this.sockets.size) this.say('The container has ended; its next start is followed here.');
      return undefined;
    };
  }

  /** The connection broke, the container perhaps goes on. */
  again(target) {
    const { generation } = this;
    this.say('The connection broke; connecting again…');
    setTimeout(() => generation === this.generation && this.follow({ ...since(target), isLost: true }), LOST_MS);
  }

  /** Why nothing comes: browsers do not tell what a WebSocket was refused for. */
  async explain(target) {
    const { generation } = this;
    try {
      await request(`${target.path}/log?container=${encodeURIComponent(target.container)}&tailLines=1`, { accept: '*/*' });
      if (generation !== this.generation) return;
      if (target.isLost) this.again(target);
      else this.say('Nothing was written yet.');
    } catch (error) {
      if (generation !== this.generation) return;
      if (error.status === 0) this.again(target);
      else this.say(error.message);
    }
  }

  /** A pod has changed: a container that runs again is followed again. */
  moved(pod) {
    const source = this.sources.find((one) => one.pod.metadata.name === pod.metadata.name);
    if (!source) return;
    const isSame = runsOf(source.pod) === runsOf(pod);
    source.pod = pod;
    if (isSame || !this.ended.size || this.previous.isOn) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      // One that goes away for good has nothing more to say.
      const lasts = ({ name }) => this.sources.some((one) => one.pod.metadata.name === name && !one.pod.metadata.deletionTimestamp);
      const again = [...this.ended.values()].filter(lasts);
      this.ended.clear();
      for (const target of again) this.follow(since(target));
    }, AGAIN_MS);
  }

  /** The pods of the workload, as they are now: new ones are followed, those that are gone are let go. */
  update(sources) {
    const known = new Set(this.sources.map(({ pod }) => pod.metadata.name));
    const names = new Set(sources.map(({ pod }) => pod.metadata.name));
    for (const { pod } of sources) this.moved(pod);
    if (names.size === known.size && [...names].every((name) => known.has(name))) return;
    this.sources = sources;
    this.offer();
    for (const [key, one] of this.sockets) {
      if (names.has(key.split('/')[0])) continue;
      this.sockets.delete(key);
      one.close();
    }
    if (document.hidden) return;
    for (const target of this.targets()) if (!known.has(target.name)) this.follow(target);
  }

  take(texts, target) {
    for (const text of texts) {
      const space = text.indexOf(' ');
      const time = text.slice(0, space);
      if (time && time === target.after) continue;
      if (time) target.lastTime = time;
      this.waiting.push({ time, text: text.slice(space + 1, space + 1 + LINE_MAX), label: target.label });
    }
    if (this.frame) return;
    // What several containers wrote before comes together, to be put in order.
    const isBeginning = target.label && performance.now() - this.begun < TOGETHER_MS;
    this.frame = isBeginning ? setTimeout(() => this.flush(), TOGETHER_MS) : requestAnimationFrame(() => this.flush());
  }

  flush() {
    this.frame = 0;
    const fresh = this.waiting.splice(0);
    if (fresh.some((line) => line.label)) fresh.sort((a, b) => (a.time < b.time ? -1 : Number(a.time > b.time)));
    for (const line of fresh) this.lines.push(line);
    const surplus = this.lines.length - BLOCK * BLOCKS_MAX;
    if (surplus > 0) this.lines.splice(0, surplus);
    for (const line of fresh.slice(-BLOCK * BLOCKS_MAX)) this.show(line);
    this.tell();
    if (this.isAtEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  redraw() {
    put(this.list);
    this.block = null;
    this.count = 0;
    for (const line of this.lines) this.show(line);
    this.tell();
    this.jump();
  }

  tell() {
    this.found.textContent = this.needle ? plural(this.count, 'line') : '';
  }

  show(line) {
    if (this.needle && !line.text.toLowerCase().includes(this.needle)) return;
    this.count += 1;
    if (!this.block || this.block.childElementCount >= BLOCK) {
      this.block = h('div.log-block');
      this.list.append(this.block);
      if (this.list.childElementCount > BLOCKS_MAX) this.list.firstElementChild.remove();
    }
    const content = this.needle ? this.marked(line.text) : styled(line.text).map(([text, style]) => paintRun(text, style, false));
    this.block.append(h('div.log-line', h('time', line.time.replace(/\.\d+/, '').replace('T', ' ')), line.label && h('b', `${line.label} `), content.length ? content : '\u200b'));
  }

  marked(text) {
    const plain = styled(text).map(([part]) => part).join('');
    const parts = [];
    let from = 0;
    const lower = plain.toLowerCase();
    for (let at = lower.indexOf(this.needle); at >= 0; at = lower.indexOf(this.needle, from)) {
      parts.push(plain.slice(from, at), h('mark', plain.slice(at, at + this.needle.length)));
      from = at + this.needle.length;
    }
    parts.push(plain.slice(from));
    return parts;
  }

  scrolled() {
    this.isAtEnd = this.list.scrollTop + this.list.clientHeight >= this.list.scrollHeight - 24;
    this.toEnd.hidden = this.isAtEnd;
  }

  jump() {
    this.list.scrollTop = this.list.scrollHeight;
    this.isAtEnd = true;
    this.toEnd.hidden = true;
  }

  async download() {
    const previous = this.previous.isOn ? '&previous=true' : '';
    try {
      const texts = await Promise.all(this.targets().map(({ path, container }) => request(`${path}/log?container=${encodeURIComponent(container)}${previous}`, { accept: '*/*' })));
      const url = URL.createObjectURL(new Blob(texts, { type: 'text/plain' }));
      h('a', { href: url, download: `${this.sources[0]?.pod.metadata.name ?? 'logs'}.log` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    } catch (error) {
      this.say(error.message);
    }
  }
}

/** The logs of everything a selector finds, as one stream. */
export function groupLogs(scope, podKind, namespace, labelSelector) {
  const sourcesOf = (feed) => feed.objects().map((pod) => ({ pod, path: podKind.object(pod.metadata.namespace, pod.metadata.name) }));
  const view = new LogView(scope, { sources: [], isGroup: true });
  follow(scope, podKind.path(namespace), { labelSelector }, (feed) => view.update(sourcesOf(feed)));
  return view;
}
