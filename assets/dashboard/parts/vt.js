// A terminal's screen: what a program's output does to a grid of cells. Pure: no elements, no timers.
//
// The subset of VT100 and xterm that shells, pagers, editors and `top` use: cursor and scroll regions, erasing,
// inserting, colors, line drawing, the alternate screen, wide characters. What is not known is swallowed whole.

const SCROLLBACK_MAX = 2000;
const SEQUENCE_MAX = 4096;
const TAB = 8;
const LINES = Object.fromEntries([...'`afgjklmnopqrstuvwxyz{|}~'].map((char, i) => [char, [...'◆▒°±┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·'][i]]));

export const PLAIN = Object.freeze({ fg: null, bg: null, bold: false, dim: false, italic: false, underline: false, inverse: false, strike: false, hidden: false });

/** Cells that a character takes: 0, 1 or 2. */
export function width(char) {
  const code = char.codePointAt(0);
  if (code < 0x300) return 1;
  if (code <= 0x36f || (code >= 0x200b && code <= 0x200f) || (code >= 0xfe00 && code <= 0xfe0f) || (code >= 0x20d0 && code <= 0x20ff) || (code >= 0x1ab0 && code <= 0x1aff) || code === 0xfeff) return 0;
  const isWide = (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0x303e) || (code >= 0x3041 && code <= 0x33ff)
    || (code >= 0x3400 && code <= 0x4dbf) || (code >= 0x4e00 && code <= 0xa4cf) || (code >= 0xa960 && code <= 0xa97f)
    || (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff) || (code >= 0xfe30 && code <= 0xfe6f)
    || (code >= 0xff00 && code <= 0xff60) || (code >= 0xffe0 && code <= 0xffe6) || (code >= 0x1f300 && code <= 0x1f64f)
    || (code >= 0x1f680 && code <= 0x1f6ff) || (code >= 0x1f900 && code <= 0x1f9ff) || (code >= 0x20000 && code <= 0x3fffd);
  return isWide ? 2 : 1;
}

/** SGR parameters applied to a style. `parameters` may hold sub-parameters as arrays. */
export function restyle(style, parameters) {
  let next = { ...style };
  for (let i = 0; i < parameters.length; i += 1) {
    const [code, ...sub] = [].concat(parameters[i]);
    if (code === 0) next = { ...PLAIN };
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = sub[0] !== 0;
    else if (code === 7) next.inverse = true;
    else if (code === 8) next.hidden = true;
    else if (code === 9) next.strike = true;
    else if (code === 21 || code === 22) { next.bold = false; next.dim = false; }
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code === 27) next.inverse = false;
    else if (code === 28) next.hidden = false;
    else if (code === 29) next.strike = false;
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code >= 100 && code <= 107) next.bg = code - 92;
    else if (code === 39) next.fg = null;
    else if (code === 49) next.bg = null;
    else if (code === 38 || code === 48) {
      const rest = sub.length ? sub : parameters.slice(i + 1).flat();
      const isIndexed = rest[0] === 5;
      const used = isIndexed ? 2 : 4;
      // With sub-parameters a color space may stand before red, green and blue.
      const rgb = sub.length > 4 ? rest.slice(2, 5) : rest.slice(1, 4);
      const color = isIndexed ? rest[1] : rest[0] === 2 ? `#${rgb.map((part) => Math.min(255, part || 0).toString(16).padStart(2, '0')).join('')}` : null;
      if (color !== null && color !== undefined) next[code === 38 ? 'fg' : 'bg'] = color;
      if (!sub.length) i += used;
    }
  }
  return next;
}

function blankRow(cols, style) {
  return { text: new Array(cols).fill(' '), style: new Array(cols).fill(style) };
}

export class Screen {
  /** `reply` gets what the terminal answers to the program. */
  constructor(cols, rows, reply = () => {}) {
    this.cols = cols;
    this.rows = rows;
    this.reply = reply;
    this.scrollback = [];
    /** Lines that ever left the screen at its top. */
    this.scrolled = 0;
    this.reset();
  }

  reset() {
    this.style = PLAIN;
    this.lines = Array.from({ length: this.rows }, () => blankRow(this.cols, PLAIN));
    this.other = null;
    this.x = 0;
    this.y = 0;
    this.top = 0;
    this.bottom = this.rows - 1;
    this.wraps = true;
    this.isPending = false;
    this.isInserting = false;
    this.isOrigin = false;
    this.isCursorShown = true;
    this.hasAppKeys = false;
    this.hasBracketedPaste = false;
    this.charsets = ['B', 'B'];
    this.shift = 0;
    this.saved = null;
    this.last = '';
    this.tabs = new Set();
    for (let x = TAB; x < 1000; x += TAB) this.tabs.add(x);
    this.state = 'ground';
    this.sequence = '';
    this.title = '';
    this.touchAll();
  }

  touchAll() {
    this.dirty = new Set(this.lines.keys());
  }

  /** Rows that changed since the last call. */
  takeDirty() {
    const dirty = this.dirty;
    this.dirty = new Set();
    return dirty;
  }

  /** A row as text, without the blanks at its end. */
  row(y) { return this.lines[y].text.join('').trimEnd(); }

  write(text) {
    for (const char of text) this.step(char);
  }

  step(char) {
    const code = char.codePointAt(0);
    if (this.state === 'string') return this.inString(char);
    if (code === 0x1b) {
      this.state = 'escape';
      this.sequence = '';
    } else if (code === 0x18 || code === 0x1a) {
      this.state = 'ground';
    } else if (code < 0x20) {
      this.control(code);
    } else if (this.state === 'ground') {
      if (code !== 0x7f) this.print(char);
    } else if (this.state === 'escape') {
      this.escape(char);
    } else {
      this.inSequence(char, code);
    }
  }

  control(code) {
    if (code === 8) { this.x = Math.max(0, this.x - 1); this.isPending = false; }
    else if (code === 9) this.tab(1);
    else if (code >= 10 && code <= 12) this.lineFeed();
    else if (code === 13) { this.x = 0; this.isPending = false; }
    else if (code === 14) this.shift = 1;
    else if (code === 15) this.shift = 0;
  }

  inString(char) {
    if (char === '\x07' || (char === '\\' && this.sequence.endsWith('\x1b'))) {
      const found = /^\][02];([^\x07\x1b]*)/.exec(this.sequence);
      if (found) this.title = found[1];
      this.state = 'ground';
    } else if (this.sequence.length < SEQUENCE_MAX) {
      this.sequence += char;
    } else if (char === '\x1b') {
      // Too long to be kept; its end must still be seen.
      this.sequence = '\x1b';
    }
  }

  escape(char) {
    if (this.sequence) {
      // A character set, or `#` and the like.
      if (this.sequence === '(' || this.sequence === ')') this.charsets[this.sequence === '(' ? 0 : 1] = char;
      else if (this.sequence === '#' && char === '8') this.fillWithE();
      this.state = 'ground';
      return;
    }
    this.state = 'ground';
    if (char === '[') { this.state = 'csi'; this.sequence = ''; }
    else if (']PX^_'.includes(char)) { this.state = 'string'; this.sequence = char; }
    else if ('()*+-./#% '.includes(char)) { this.state = 'escape'; this.sequence = char; }
    else if (char === '7') this.save();
    else if (char === '8') this.restore();
    else if (char === 'D') this.lineFeed();
    else if (char === 'E') { this.x = 0; this.lineFeed(); }
    else if (char === 'H') this.tabs.add(this.x);
    else if (char === 'M') this.reverseFeed();
    else if (char === 'c') this.reset();
  }

  inSequence(char, code) {
    if (code < 0x40) {
      if (this.sequence.length < SEQUENCE_MAX) this.sequence += char;
      return;
    }
    this.state = 'ground';
    const found = /^([<=>?]?)([0-9;:]*)([ -/]*)$/.exec(this.sequence);
    if (!found) return;
    const [, mark, numbers, between] = found;
    const parameters = numbers.split(';').map((part) => (part.includes(':') ? part.split(':').map((n) => (n === '' ? 0 : Number(n))) : part === '' ? undefined : Number(part)));
    this.command(mark + between + char, parameters);
  }

  command(name, parameters) {
    const count = (i = 0) => Math.max(1, [].concat(parameters[i])[0] || 1);
    const number = (i = 0) => [].concat(parameters[i])[0] || 0;
    switch (name) {
      case '@': return this.insertCells(count());
      case 'A': return this.move(this.x, Math.max(this.y >= this.top ? this.top : 0, this.y - count()));
      case 'B': case 'e': return this.move(this.x, Math.min(this.y <= this.bottom ? this.bottom : this.rows - 1, this.y + count()));
      case 'C': case 'a': return this.move(this.x + count(), this.y);
      case 'D': return this.move(this.x - count(), this.y);
      case 'E': return this.move(0, this.y + count());
      case 'F': return this.move(0, this.y - count());
      case 'G': case '`': return this.move(count() - 1, this.y);
      case 'H': case 'f': return this.place(count(1) - 1, count(0) - 1);
      case 'I': return this.tab(count());
      case 'Z': return this.tab(-count());
      case 'J': return this.eraseScreen(number());
      case 'K': return this.eraseLine(number());
      case 'L': return this.isInRegion() && this.scroll(this.y, this.bottom, -count());
      case 'M': return this.isInRegion() && this.scroll(this.y, this.bottom, count());
      case 'P': return this.deleteCells(count());
      case 'S': return this.scroll(this.top, this.bottom, count());
      case 'T': return this.scroll(this.top, this.bottom, -count());
      case 'X': return this.erase(this.y, this.x, this.x + count());
      case 'b': return this.last && this.write(this.last.repeat(Math.min(count(), this.cols * this.rows)));
      case 'c': return this.reply('\x1b[?62;22c');
      case '>c': return this.reply('\x1b[>0;10;1c');
      case 'd': return this.place(this.x, count() - 1);
      case 'g': return number() === 3 ? this.tabs.clear() : this.tabs.delete(this.x);
      case 'h': case 'l': return parameters.forEach((mode) => mode === 4 && (this.isInserting = name === 'h'));
      case '?h': case '?l': return parameters.forEach((mode) => this.mode(mode, name === '?h'));
      case 'm': this.style = restyle(this.style, parameters.map((part) => part ?? 0)); return undefined;
      case 'n': return this.report(number());
      case 'r': return this.region(number(0), number(1));
      case 's': return this.save();
      case 'u': return this.restore();
      case '!p': { const { lines } = this; this.reset(); this.lines = lines; return undefined; }
      default: return undefined;
    }
  }

  mode(mode, isOn) {
    if (mode === 1) this.hasAppKeys = isOn;
    else if (mode === 6) { this.isOrigin = isOn; this.place(0, 0); }
    else if (mode === 7) this.wraps = isOn;
    else if (mode === 25) { this.isCursorShown = isOn; this.dirty.add(this.y); }
    else if (mode === 2004) this.hasBracketedPaste = isOn;
    else if (mode === 1048) { if (isOn) this.save(); else this.restore(); }
    else if (mode === 47 || mode === 1047 || mode === 1049) this.alternate(isOn, mode === 1049);
  }

  get isAlternate() { return this.other !== null; }

  alternate(isOn, withCursor) {
    if (isOn === this.isAlternate) return;
    if (isOn) {
      if (withCursor) this.save();
      this.other = this.lines;
      this.lines = Array.from({ length: this.rows }, () => blankRow(this.cols, PLAIN));
    } else {
      this.lines = this.other;
      this.other = null;
      if (withCursor) this.restore();
    }
    this.top = 0;
    this.bottom = this.rows - 1;
    this.touchAll();
  }

  report(what) {
    if (what === 5) this.reply('\x1b[0n');
    else if (what === 6) this.reply(`\x1b[${this.y + 1};${this.x + 1}R`);
  }

  region(top, bottom) {
    const last = bottom === 0 ? this.rows : Math.min(bottom, this.rows);
    const first = Math.max(1, top);
    if (first >= last) return;
    this.top = first - 1;
    this.bottom = last - 1;
    this.place(0, 0);
  }

  isInRegion() { return this.y >= this.top && this.y <= this.bottom; }

  save() {
    this.saved = { x: this.x, y: this.y, style: this.style, charsets: [...this.charsets], shift: this.shift, isOrigin: this.isOrigin };
  }

  restore() {
    const saved = this.saved ?? { x: 0, y: 0, style: PLAIN, charsets: ['B', 'B'], shift: 0, isOrigin: false };
    Object.assign(this, { style: saved.style, charsets: [...saved.charsets], shift: saved.shift, isOrigin: saved.isOrigin });
    this.move(saved.x, saved.y);
  }

  /** An addressed position: counted from the region's top in origin mode. */
  place(x, y) {
    if (!this.isOrigin) return this.move(x, y);
    return this.move(x, Math.min(this.top + y, this.bottom));
  }

  move(x, y) {
    this.dirty.add(this.y);
    this.x = Math.max(0, Math.min(this.cols - 1, x));
    this.y = Math.max(0, Math.min(this.rows - 1, y));
    this.isPending = false;
    this.dirty.add(this.y);
  }

  tab(count) {
    for (let n = Math.min(Math.abs(count), this.cols); n > 0; n -= 1) {
      let x = this.x + Math.sign(count);
      while (x > 0 && x < this.cols - 1 && !this.tabs.has(x)) x += Math.sign(count);
      this.move(x, this.y);
    }
  }

  print(char) {
    if (this.charsets[this.shift] === '0') char = LINES[char] ?? char;
    const size = width(char);
    if (size === 0) return this.combine(char);
    if (this.isPending || (size === 2 && this.x === this.cols - 1)) {
      if (this.wraps) {
        this.x = 0;
        this.lineFeed();
      } else if (size === 2) {
        return undefined;
      }
      this.isPending = false;
    }
    if (this.isInserting) this.insertCells(size);
    const line = this.lines[this.y];
    this.split(line, this.x);
    if (size === 2) this.split(line, this.x + 1);
    line.text[this.x] = char;
    line.style[this.x] = this.style;
    if (size === 2) {
      line.text[this.x + 1] = '';
      line.style[this.x + 1] = this.style;
    }
    this.last = char;
    this.dirty.add(this.y);
    if (this.x + size >= this.cols) {
      this.x = this.cols - 1;
      this.isPending = true;
    } else {
      this.x += size;
    }
    return undefined;
  }

  /** Half of a wide character that is written over leaves no other half. */
  split(line, x) {
    if (line.text[x] === '' && x > 0) line.text[x - 1] = ' ';
    if (x + 1 < this.cols && line.text[x + 1] === '') line.text[x + 1] = ' ';
  }

  combine(char) {
    const line = this.lines[this.y];
    let x = this.isPending ? this.x : this.x - 1;
    if (x > 0 && line.text[x] === '') x -= 1;
    if (x >= 0 && line.text[x].length < 16) {
      line.text[x] += char;
      this.dirty.add(this.y);
    }
  }

  lineFeed() {
    this.isPending = false;
    this.dirty.add(this.y);
    if (this.y === this.bottom) this.scroll(this.top, this.bottom, 1);
    else if (this.y < this.rows - 1) this.y += 1;
    this.dirty.add(this.y);
  }

  reverseFeed() {
    this.dirty.add(this.y);
    if (this.y === this.top) this.scroll(this.top, this.bottom, -1);
    else if (this.y > 0) this.y -= 1;
    this.dirty.add(this.y);
  }

  /** Moves the lines of a region up by `count`, or down if it is negative. */
  scroll(top, bottom, count) {
    const size = bottom - top + 1;
    const amount = Math.min(Math.abs(count), size);
    const blank = () => blankRow(this.cols, this.background());
    if (count > 0) {
      const gone = this.lines.splice(top, amount);
      if (top === 0 && !this.isAlternate) this.keep(gone);
      this.lines.splice(bottom - amount + 1, 0, ...Array.from({ length: amount }, blank));
    } else {
      this.lines.splice(bottom - amount + 1, amount);
      this.lines.splice(top, 0, ...Array.from({ length: amount }, blank));
    }
    for (let y = top; y <= bottom; y += 1) this.dirty.add(y);
  }

  keep(lines) {
    this.scrollback.push(...lines);
    this.scrolled += lines.length;
    if (this.scrollback.length > SCROLLBACK_MAX) this.scrollback.splice(0, this.scrollback.length - SCROLLBACK_MAX);
  }

  background() {
    return this.style.bg === null ? PLAIN : { ...PLAIN, bg: this.style.bg };
  }

  erase(y, from, to) {
    const line = this.lines[y];
    const style = this.background();
    for (let x = from; x < Math.min(to, this.cols); x += 1) {
      this.split(line, x);
      line.text[x] = ' ';
      line.style[x] = style;
    }
    this.isPending = false;
    this.dirty.add(y);
  }

  eraseLine(how) {
    this.erase(this.y, how === 0 ? this.x : 0, how === 1 ? this.x + 1 : this.cols);
  }

  eraseScreen(how) {
    if (how === 3) {
      this.scrollback = [];
      return;
    }
    if (how !== 2) this.eraseLine(how);
    const from = how === 0 ? this.y + 1 : 0;
    const to = how === 1 ? this.y : this.rows;
    for (let y = from; y < to; y += 1) this.erase(y, 0, this.cols);
  }

  insertCells(count) {
    const line = this.lines[this.y];
    const amount = Math.min(count, this.cols - this.x);
    line.text.splice(this.x, 0, ...new Array(amount).fill(' '));
    line.style.splice(this.x, 0, ...new Array(amount).fill(this.background()));
    line.text.length = this.cols;
    line.style.length = this.cols;
    this.dirty.add(this.y);
  }

  deleteCells(count) {
    const line = this.lines[this.y];
    const amount = Math.min(count, this.cols - this.x);
    line.text.splice(this.x, amount);
    line.style.splice(this.x, amount);
    while (line.text.length < this.cols) {
      line.text.push(' ');
      line.style.push(this.background());
    }
    this.dirty.add(this.y);
  }

  fillWithE() {
    this.lines = this.lines.map(() => ({ text: new Array(this.cols).fill('E'), style: new Array(this.cols).fill(PLAIN) }));
    this.move(0, 0);
    this.touchAll();
  }

  /** Lines keep their beginning; what no longer fits above goes to the scrollback. */
  resize(cols, rows) {
    if (cols === this.cols && rows === this.rows) return;
    const fit = (line) => {
      while (line.text.length < cols) {
        line.text.push(' ');
        line.style.push(PLAIN);
      }
      line.text.length = cols;
      line.style.length = cols;
      return line;
    };
    const shape = (lines, isMain) => {
      const surplus = Math.max(0, lines.length - rows);
      const below = lines.length - 1 - (lines === this.lines ? this.y : lines.length - 1);
      lines.splice(lines.length - Math.min(surplus, below), Math.min(surplus, below));
      const gone = lines.splice(0, Math.max(0, lines.length - rows));
      if (isMain) this.keep(gone);
      if (lines === this.lines) this.y = Math.max(0, this.y - gone.length);
      while (lines.length < rows) lines.push(blankRow(cols, PLAIN));
      lines.forEach(fit);
    };
    if (this.other) shape(this.other, true);
    shape(this.lines, !this.isAlternate);
    this.cols = cols;
    this.rows = rows;
    this.top = 0;
    this.bottom = rows - 1;
    this.x = Math.min(this.x, cols - 1);
    this.y = Math.min(this.y, rows - 1);
    this.isPending = false;
    this.touchAll();
  }
}

/** A row's cells as runs of one style: `[text, style, isWide]`. */
export function runs(line) {
  const found = [];
  for (let x = 0; x < line.text.length; x += 1) {
    const text = line.text[x];
    if (text === '') continue;
    const isWide = line.text[x + 1] === '';
    const last = found[found.length - 1];
    if (last && !isWide && !last[2] && same(last[1], line.style[x])) last[0] += text;
    else found.push([text, line.style[x], isWide]);
  }
  return found;
}

function same(a, b) {
  return a === b || (a.fg === b.fg && a.bg === b.bg && a.bold === b.bold && a.dim === b.dim && a.italic === b.italic && a.underline === b.underline && a.inverse === b.inverse && a.strike === b.strike && a.hidden === b.hidden);
}

/** The 256 colors beyond the sixteen named ones. */
export function indexed(color) {
  if (typeof color === 'string') return color;
  if (color >= 232) {
    const level = (8 + (color - 232) * 10).toString(16).padStart(2, '0');
    return `#${level}${level}${level}`;
  }
  const rest = color - 16;
  const part = (n) => (n === 0 ? 0 : 55 + n * 40).toString(16).padStart(2, '0');
  return `#${part(Math.floor(rest / 36))}${part(Math.floor(rest / 6) % 6)}${part(rest % 6)}`;
}

const KEYS = {
  ArrowUp: 'A', ArrowDown: 'B', ArrowRight: 'C', ArrowLeft: 'D', Home: 'H', End: 'F',
  Insert: '2~', Delete: '3~', PageUp: '5~', PageDown: '6~',
  F1: 'OP', F2: 'OQ', F3: 'OR', F4: 'OS', F5: '15~', F6: '17~', F7: '18~', F8: '19~', F9: '20~', F10: '21~', F11: '23~', F12: '24~',
  Enter: '\r', Backspace: '\x7f', Tab: '\t', Escape: '\x1b',
};

/** What a key sends, or null for keys that send nothing (or type text). */
export function keySequence({ key, ctrlKey, altKey, shiftKey, metaKey }, hasAppKeys) {
  if (metaKey) return null;
  const modifier = 1 + (shiftKey ? 1 : 0) + (altKey ? 2 : 0) + (ctrlKey ? 4 : 0);
  const known = KEYS[key];
  if (known !== undefined) {
    if (key === 'Tab' && shiftKey) return '\x1b[Z';
    if (known.length === 1 && !/[A-Z]/.test(known)) return altKey ? `\x1b${known}` : known;
    if (known.startsWith('O')) return modifier > 1 ? `\x1b[1;${modifier}${known[1]}` : `\x1b${known}`;
    if (known.endsWith('~')) return modifier > 1 ? `\x1b[${known.slice(0, -1)};${modifier}~` : `\x1b[${known}`;
    if (modifier > 1) return `\x1b[1;${modifier}${known}`;
    return hasAppKeys ? `\x1bO${known}` : `\x1b[${known}`;
  }
  if ([...key].length !== 1) return null;
  if (ctrlKey) {
    const code = key.toUpperCase().charCodeAt(0);
    const control = code === 32 ? 0 : code >= 64 && code <= 95 ? code - 64 : code === 63 ? 127 : null;
    if (control === null) return null;
    return (altKey ? '\x1b' : '') + String.fromCharCode(control);
  }
  return altKey ? `\x1b${key}` : null;
}
