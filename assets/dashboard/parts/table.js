// A table of any length: only the rows on the screen are elements.
//
// Columns that do not fit are left out by their rank; widths follow from hints, not from what rows are in sight, so
// nothing jumps while scrolling. Rows are reached by the arrow keys, opened by Enter.

import { h, put } from '../core/dom.js';
import { compare } from '../core/format.js';
import { icon } from './icon.js';

const ROW = 41;
const SPARE = 8;

/**
 * A column: `{id, title, min, grow, rank, align, cell(row), value(row)}`. `rank` 0 always stays, higher ones go first.
 * Options: `label`, `onopen(row)`, `href(row)`, `key(row)`, `empty()`, `sort`, `onsort`.
 */
export class Table {
  constructor(scope, options) {
    this.options = options;
    this.columns = [];
    this.shown = [];
    this.rows = [];
    this.live = new Map();
    this.sort = options.sort ?? null;
    this.head = h('div.table-head', { role: 'row' });
    this.body = h('div.table-body', { role: 'rowgroup' });
    this.port = h('div.table-port', { tabindex: '0', role: 'table', 'aria-label': options.label }, this.head, this.body);
    this.note = h('div.table-note', { 'aria-live': 'polite' });
    this.el = h('div.table', this.port, this.note);
    this.port.addEventListener('scroll', () => this.draw(), { passive: true });
    this.port.addEventListener('keydown', (event) => this.key(event));
    const observer = new ResizeObserver(() => this.fit());
    observer.observe(this.port);
    scope.add(() => observer.disconnect());
    this.active = -1;
  }

  setColumns(columns) {
    const signature = columns.map((column) => column.id).join();
    const isSame = signature === this.signature;
    this.signature = signature;
    this.columns = columns;
    if (!isSame) this.fit();
  }

  setRows(rows, { isLoading = false } = {}) {
    this.all = rows;
    this.isLoading = isLoading;
    this.order();
  }

  order() {
    const column = this.sort && this.columns.find((one) => one.id === this.sort.id);
    this.rows = this.all ?? [];
    if (column?.value) {
      const sign = this.sort.isDown ? -1 : 1;
      this.rows = [...this.rows].sort((a, b) => sign * compare(column.value(a), column.value(b)));
    }
    this.port.setAttribute('aria-rowcount', this.rows.length + 1);
    this.body.style.setProperty('height', `${this.rows.length * ROW}px`);
    const isEmpty = this.rows.length === 0;
    this.note.hidden = !isEmpty;
    this.port.classList.toggle('empty', isEmpty);
    if (isEmpty) put(this.note, this.isLoading ? h('div.loading', 'Loading…') : this.options.empty?.() ?? 'Nothing here.');
    this.draw();
  }

  /** Chooses the columns that fit. */
  fit() {
    const room = this.port.clientWidth - 24;
    if (room <= 0) return;
    let shown = [...this.columns];
    const needed = () => shown.reduce((sum, column) => sum + (column.min ?? 90) + 12, 0);
    while (needed() > room && shown.length > 1) {
      const worst = shown.reduce((a, b) => ((b.rank ?? 1) >= (a.rank ?? 1) ? b : a));
      if ((worst.rank ?? 1) === 0) break;
      shown = shown.filter((column) => column !== worst);
    }
    const signature = shown.map((column) => column.id).join();
    if (signature !== this.fitted) {
      this.fitted = signature;
      this.shown = shown;
      const tracks = shown.map((column) => `minmax(${column.min ?? 90}px, ${column.grow ?? 1}fr)`);
      this.port.style.setProperty('--tracks', tracks.join(' '));
      this.drawHead();
      this.clear();
    }
    this.draw();
  }

  drawHead() {
    put(this.head, this.shown.map((column) => {
      const isSorted = this.sort?.id === column.id;
      const direction = isSorted ? (this.sort.isDown ? 'descending' : 'ascending') : 'none';
      const title = h('button.th', {
        type: 'button',
        disabled: !column.value,
        class: `th${isSorted ? ' sorted' : ''}`,
        onclick: () => this.sortBy(column),
      }, column.title, isSorted && h('span.arrow', this.sort.isDown ? '↓' : '↑'));
      return h('div', { role: 'columnheader', 'aria-sort': direction, class: column.align === 'end' ? 'cell end' : 'cell' }, title);
    }));
  }

  sortBy(column) {
    const isDown = this.sort?.id === column.id ? !this.sort.isDown : false;
    this.sort = { id: column.id, isDown };
    this.drawHead();
    this.order();
  }

  clear() {
    for (const one of this.live.values()) one.el.remove();
    this.live.clear();
  }

  /** Everything is drawn again: what cells show has changed without their rows. */
  redraw() {
    this.clear();
    this.draw();
  }

  draw() {
    if (!this.shown.length) return;
    const height = this.port.clientHeight || 600;
    const first = Math.max(0, Math.floor(this.port.scrollTop / ROW) - SPARE);
    const last = Math.min(this.rows.length, Math.ceil((this.port.scrollTop + height) / ROW) + SPARE);
    const wanted = new Set();
    for (let index = first; index < last; index += 1) {
      const row = this.rows[index];
      const key = this.options.key(row);
      wanted.add(key);
      let one = this.live.get(key);
      if (!one || one.row !== row) {
        const el = this.line(row);
        if (one) one.el.replaceWith(el);
        else this.body.append(el);
        one = { row, el };
        this.live.set(key, one);
      }
      one.el.style.setProperty('transform', `translateY(${index * ROW}px)`);
      one.el.setAttribute('aria-rowindex', index + 2);
      one.el.classList.toggle('active', index === this.active);
      one.el.classList.toggle('open', Boolean(this.options.isOpen?.(row)));
    }
    for (const [key, one] of this.live) {
      if (wanted.has(key)) continue;
      one.el.remove();
      this.live.delete(key);
    }
  }

  line(row) {
    const href = this.options.href?.(row);
    const cells = this.shown.map((column, index) => {
      const content = column.cell(row);
      const isLink = index === 0 && href;
      const inner = isLink ? h('a.rowlink', { href, tabindex: '-1' }, content) : content;
      const text = typeof content === 'string' ? content : undefined;
      return h('div', { role: 'cell', class: column.align === 'end' ? 'cell end' : 'cell', title: text }, inner);
    });
    return h('div.tr', { role: 'row', onclick: (event) => this.click(event, row) }, cells);
  }

  click(event, row) {
    if (event.target.closest('a, button, input') || getSelection().toString()) return;
    this.options.onopen?.(row);
  }

  key(event) {
    if (event.target !== this.port || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.floor(this.port.clientHeight / ROW) - 2;
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps && this.rows.length) {
      event.preventDefault();
      this.active = Math.max(0, Math.min(this.rows.length - 1, this.active + steps[event.key]));
      const at = this.active * ROW;
      const room = this.port.clientHeight - ROW * 2;
      if (at < this.port.scrollTop) this.port.scrollTop = at;
      else if (at > this.port.scrollTop + room) this.port.scrollTop = at - room;
      this.draw();
    } else if (event.key === 'Enter' && this.rows[this.active]) {
      event.preventDefault();
      this.options.onopen?.(this.rows[this.active]);
    }
  }
}

/** A title and the like for a page that shows one table. */
export function searchBox({ value, onsearch, label = 'Filter by name or label' }) {
  const input = h('input.search-input', {
    type: 'search', placeholder: label, 'aria-label': label, value: value ?? '', spellcheck: 'false', autocomplete: 'off', id: 'search',
    oninput: () => onsearch(input.value),
    onkeydown: (event) => {
      if (event.key !== 'Escape') return;
      event.stopPropagation();
      if (input.value) {
        input.value = '';
        onsearch('');
      } else {
        input.blur();
      }
    },
  });
  return h('label.search', icon('search'), input, h('kbd', { 'aria-hidden': 'true' }, '/'));
}
