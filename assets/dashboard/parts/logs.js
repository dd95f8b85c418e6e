// Logs of a pod's containers, as they come.
//
// One WebSocket per followed container. Lines are kept in blocks that the browser lays out only when they come into
// sight; the oldest block goes when there are too many.

import { h, put } from '../core/dom.js';
import { request, socket } from '../core/api.js';
import { plural } from '../core/format.js';
import { icon } from './icon.js';
import { Lines, styled } from '../core/text.js';
import { paintRun } from './terminal.js';

const TAIL = 1000;
const BLOCK = 200;
const BLOCKS_MAX = 60;
/** A container that restarts gets a moment to begin. */
const AGAIN_MS = 1500;
const LINE_MAX = 20000;

export class LogView {
  constructor(scope, { pod, path }) {
    this.scope = scope;
    this.pod = pod;
    this.path = path;
    this.lines = [];
    this.count = 0;
    this.sockets = [];
    this.isAtEnd = true;
    this.isFollowing = true;
    this.needle = '';
    this.waiting = [];
    this.build();
    scope.add(() => this.close());
    scope.listen(document, 'visibilitychange', () => (document.hidden ? this.close() : this.start()));
    this.start();
  }

  names() {
    const { initContainers, containers, ephemeralContainers } = this.pod.spec ?? {};
    return [containers, initContainers, ephemeralContainers].flatMap((list) => list ?? []).map((one) => one.name);
  }

  build() {
    const names = this.names();
    const wanted = this.pod.metadata.annotations?.['kubectl.kubernetes.io/default-container'];
    this.choice = h('select', { 'aria-label': 'Container', onchange: () => this.start() },
      names.map((name) => h('option', { value: name, selected: name === wanted }, name)),
      names.length > 1 && h('option', { value: '*' }, 'All containers'));
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
    for (const one of this.sockets.splice(0)) one.close();
    clearTimeout(this.timer);
  }

  start() {
    this.close();
    if (document.hidden) return;
    this.clear();
    const names = this.choice.value === '*' ? this.names() : [this.choice.value];
    this.say('Loading…');
    for (const name of names) this.follow(name, names.length > 1, `tailLines=${TAIL}`);
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

  async follow(container, isOneOfMany, from) {
    const generation = this.generation;
    const query = `container=${encodeURIComponent(container)}&timestamps=true&${from}`;
    if (this.previous.isOn) {
      try {
        const text = await request(`${this.path}/log?${query}&previous=true`, { accept: '*/*' });
        if (generation !== this.generation) return;
        this.take(new Lines().push(text), isOneOfMany && container);
        this.say('The container before its last restart');
      } catch (error) {
        if (generation === this.generation) this.say(error.message);
      }
      return;
    }
    const opened = socket(`${this.path}/log?${query}&follow=true`, ['binary.k8s.io']);
    this.sockets.push(opened);
    const decoder = new TextDecoder();
    const lines = new Lines();
    let isOpen = false;
    opened.onopen = () => { isOpen = true; if (generation === this.generation) this.say('Live'); };
    opened.onmessage = (message) => {
      if (generation === this.generation) this.take(lines.push(decoder.decode(message.data, { stream: true })), isOneOfMany && container);
    };
    opened.onclose = () => {
      if (generation !== this.generation) return;
      if (isOpen) this.say('The container has ended; its next start is followed here.');
      else this.explain(container);
      this.again = { container, isOneOfMany };
    };
  }

  /** Why nothing comes: browsers do not tell what a WebSocket was refused for. */
  async explain(container) {
    const generation = this.generation;
    try {
      await request(`${this.path}/log?container=${encodeURIComponent(container)}&tailLines=1`, { accept: '*/*' });
      if (generation === this.generation) this.say('Nothing was written yet.');
    } catch (error) {
      if (generation === this.generation) this.say(error.message);
    }
  }

  /** The pod has changed: a container that runs again is followed again. */
  moved(pod) {
    const before = this.runs(this.pod);
    this.pod = pod;
    const now = this.runs(pod);
    if (!this.again || now === before || this.previous.isOn) return;
    const { container, isOneOfMany } = this.again;
    this.again = null;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.follow(container, isOneOfMany, this.lastTime ? `sinceTime=${this.lastTime}` : `tailLines=${TAIL}`), AGAIN_MS);
  }

  runs(pod) {
    return (pod.status?.containerStatuses ?? []).map((one) => `${one.restartCount}${one.state?.running ? 'r' : ''}`).join();
  }

  take(texts, container) {
    for (const text of texts) {
      const space = text.indexOf(' ');
      const time = text.slice(0, space);
      if (time) this.lastTime = time;
      this.waiting.push({ time, text: text.slice(space + 1, space + 1 + LINE_MAX), container });
    }
    if (!this.frame) this.frame = requestAnimationFrame(() => this.flush());
  }

  flush() {
    this.frame = 0;
    const fresh = this.waiting.splice(0);
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
    this.block.append(h('div.log-line', h('time', line.time.replace(/\.\d+/, '').replace('T', ' ')), line.container && h('b', `${line.container} `), content.length ? content : '\u200b'));
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
    const container = this.choice.value === '*' ? this.names()[0] : this.choice.value;
    const previous = this.previous.isOn ? '&previous=true' : '';
    try {
      const text = await request(`${this.path}/log?container=${encodeURIComponent(container)}${previous}`, { accept: '*/*' });
      const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
      h('a', { href: url, download: `${this.pod.metadata.name}-${container}.log` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    } catch (error) {
      this.say(error.message);
    }
  }
}
