// A shell in a container: the screen of `vt.js` drawn with elements, keys and paste sent to the process.

import { h, put } from '../core/dom.js';
import { socket } from '../core/api.js';
import { Screen, indexed, keySequence, runs } from './vt.js';

const STDIN = 0;
const ERROR = 3;
const RESIZE = 4;
const KEPT_MAX = 2000;
/** bash where there is one: it edits lines better. */
const SHELL = ['/bin/sh', '-c', 'TERM=xterm-256color; export TERM; if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh'];

/** Text in a style, as an element; plain text stays text. */
export function paintRun(text, style, isWide) {
  const names = [];
  let fg = style.fg;
  let bg = style.bg;
  if (style.inverse) [fg, bg] = [bg ?? 'bg', fg ?? 'fg'];
  const colors = {};
  if (fg !== null) color(fg, 'color', 'f', names, colors);
  if (bg !== null) color(bg, 'background-color', 'b', names, colors);
  for (const name of ['bold', 'dim', 'italic', 'underline', 'strike', 'hidden']) if (style[name]) names.push(`t-${name}`);
  if (isWide) names.push('t-wide');
  if (!names.length && !Object.keys(colors).length) return text;
  return h('span', { class: names.join(' '), style: colors }, text);
}

function color(value, property, letter, names, colors) {
  if (value === 'bg' || value === 'fg' || value < 16) names.push(`t-${letter}-${value}`);
  else colors[property] = indexed(value);
}

export class TerminalView {
  constructor(scope, { pod, path }) {
    this.scope = scope;
    this.pod = pod;
    this.path = path;
    const names = (pod.spec?.containers ?? []).concat(pod.spec?.ephemeralContainers ?? []).map((one) => one.name);
    this.choice = h('select', { 'aria-label': 'Container', onchange: () => this.connect() }, names.map((name) => h('option', { value: name }, name)));
    this.state = h('span.muted', { 'aria-live': 'polite' });
    this.again = h('button.button', { type: 'button', onclick: () => this.connect(), hidden: true }, 'Connect again');
    this.past = h('div.term-past');
    this.grid = h('div.term-grid');
    this.probe = h('span.term-probe', { 'aria-hidden': 'true' }, 'MMMMMMMMMM');
    this.keys = h('textarea.term-keys', {
      'aria-label': 'Terminal input', spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', autocorrect: 'off', rows: '1',
      onkeydown: (event) => this.key(event),
      oninput: (event) => this.typed(event),
      onpaste: (event) => this.paste(event),
      oncompositionend: () => this.typed({ isComposing: false }),
      onfocus: () => this.pane.classList.add('focused'),
      onblur: () => this.pane.classList.remove('focused'),
    });
    this.pane = h('div.term', { onmouseup: () => { if (!getSelection().toString()) this.keys.focus({ preventScroll: true }); } }, this.past, this.grid, this.keys, this.probe);
    this.el = h('div.shell', h('div.bar', names.length > 1 ? this.choice : h('span.muted', names[0]), this.state, h('span.spring'), this.again), this.pane);
    const observer = new ResizeObserver(() => this.measure());
    observer.observe(this.pane);
    scope.add(() => {
      observer.disconnect();
      this.socket?.close();
      cancelAnimationFrame(this.frame);
    });
    this.encoder = new TextEncoder();
    requestAnimationFrame(() => !scope.over && this.connect());
  }

  size() {
    const cell = this.probe.getBoundingClientRect();
    const cols = Math.floor((this.pane.clientWidth - 20) / (cell.width / 10 || 8));
    const rows = Math.floor((this.pane.clientHeight - 16) / (cell.height || 18));
    return [Math.max(20, Math.min(400, cols)), Math.max(5, Math.min(200, rows))];
  }

  connect() {
    this.socket?.close();
    const [cols, rows] = this.size();
    this.screen = new Screen(cols, rows, (text) => this.send(text));
    this.drawn = 0;
    put(this.past);
    this.rowEls = [];
    put(this.grid);
    this.draw();
    this.again.hidden = true;
    this.state.textContent = 'Connecting…';
    const words = SHELL.map((word) => `command=${encodeURIComponent(word)}`).join('&');
    const query = `container=${encodeURIComponent(this.choice.value)}&stdin=true&stdout=true&tty=true&${words}`;
    const opened = socket(`${this.path}/exec?${query}`, ['v5.channel.k8s.io']);
    this.socket = opened;
    const decoder = new TextDecoder();
    let isOpen = false;
    opened.onopen = () => {
      if (this.socket !== opened) return;
      isOpen = true;
      this.state.textContent = 'Connected';
      this.resize();
      this.keys.focus({ preventScroll: true });
    };
    opened.onmessage = (message) => {
      if (this.socket !== opened) return;
      const bytes = new Uint8Array(message.data);
      if (bytes[0] === ERROR) return this.ended(new TextDecoder().decode(bytes.subarray(1)));
      this.screen.write(decoder.decode(bytes.subarray(1), { stream: true }));
      this.draw();
      return undefined;
    };
    opened.onclose = () => {
      if (this.socket !== opened) return;
      this.again.hidden = false;
      if (!isOpen) this.state.textContent = 'No shell: the container does not run, or has no /bin/sh. Try kubectl debug.';
      else if (this.state.textContent === 'Connected') this.state.textContent = 'The connection ended.';
    };
  }

  ended(text) {
    if (!text) return;
    let status = {};
    try {
      status = JSON.parse(text);
    } catch { /* shown as it is */ }
    this.state.textContent = status.status === 'Success' ? 'The shell has ended.' : status.message ?? text;
    this.again.hidden = false;
  }

  send(text, channel = STDIN) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const bytes = this.encoder.encode(text);
    const message = new Uint8Array(bytes.length + 1);
    message[0] = channel;
    message.set(bytes, 1);
    this.socket.send(message);
  }

  measure() {
    if (!this.screen || !this.pane.clientWidth) return;
    const [cols, rows] = this.size();
    if (cols === this.screen.cols && rows === this.screen.rows) return;
    this.screen.resize(cols, rows);
    this.resize();
    this.draw();
  }

  resize() {
    this.send(JSON.stringify({ Width: this.screen.cols, Height: this.screen.rows }), RESIZE);
  }

  key(event) {
    event.stopPropagation();
    if (event.isComposing) return;
    const isCopy = event.ctrlKey && event.shiftKey && ['C', 'V'].includes(event.key.toUpperCase());
    if (isCopy || (event.ctrlKey && event.key === 'c' && getSelection().toString())) return;
    const text = keySequence(event, this.screen.hasAppKeys);
    if (text === null) return;
    event.preventDefault();
    this.send(text);
    this.pane.scrollTop = this.pane.scrollHeight;
  }

  typed(event) {
    if (event.isComposing) return;
    const text = this.keys.value;
    this.keys.value = '';
    if (text) this.send(text.replaceAll('\n', '\r'));
  }

  paste(event) {
    event.preventDefault();
    const text = (event.clipboardData?.getData('text') ?? '').replace(/\r?\n/g, '\r');
    this.send(this.screen.hasBracketedPaste ? `\x1b[200~${text.replaceAll('\x1b', '')}\x1b[201~` : text);
  }

  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    const { screen } = this;
    const isAtEnd = this.pane.scrollTop + this.pane.clientHeight >= this.pane.scrollHeight - 30;
    const fresh = Math.min(screen.scrolled - this.drawn, screen.scrollback.length);
    this.drawn = screen.scrolled;
    for (const line of screen.scrollback.slice(screen.scrollback.length - fresh)) this.past.append(this.row(line));
    if (!screen.scrollback.length) put(this.past);
    while (this.past.childElementCount > KEPT_MAX) this.past.firstElementChild.remove();
    this.past.hidden = screen.isAlternate;
    const dirty = screen.takeDirty();
    while (this.rowEls.length > screen.rows) this.rowEls.pop().remove();
    for (let y = 0; y < screen.rows; y += 1) {
      if (!dirty.has(y) && this.rowEls[y] && y !== screen.y && y !== this.cursorRow) continue;
      const el = this.row(screen.lines[y], y === screen.y && screen.isCursorShown ? screen.x : -1);
      if (this.rowEls[y]) this.rowEls[y].replaceWith(el);
      else this.grid.append(el);
      this.rowEls[y] = el;
    }
    this.cursorRow = screen.y;
    if (isAtEnd) this.pane.scrollTop = this.pane.scrollHeight;
  }

  row(line, cursor = -1) {
    let shown = line;
    if (cursor >= 0) {
      shown = { text: line.text, style: [...line.style] };
      shown.style[cursor] = { ...line.style[cursor], inverse: !line.style[cursor].inverse };
    }
    return h('div.term-row', runs(shown).map(([text, style, isWide]) => paintRun(text, style, isWide)));
  }
}
