// YAML of an object: read with colors, changed as text. The server writes it and reads it; nothing here parses.

import { h, put } from '../core/dom.js';
import { request } from '../core/api.js';
import { colors, withoutBookkeeping } from '../core/text.js';
import { copy, toast } from './dialog.js';
import { icon } from './icon.js';

const YAML = 'application/yaml';
/** Longer texts are shown without colors. */
const COLORED_MAX = 300000;

function painted(text) {
  if (text.length > COLORED_MAX) return [text];
  return text.split('\n').flatMap((line) => [...colors(line).map(([name, part]) => (name ? h(`span.y-${name}`, part) : part)), '\n']);
}

export class YamlView {
  constructor(scope, { kind, path, object }) {
    this.path = path;
    this.kind = kind;
    this.object = object;
    this.code = h('pre.yaml-code', { 'aria-hidden': 'true' });
    this.input = h('textarea.yaml-input', {
      spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', wrap: 'off', 'aria-label': 'YAML',
      oninput: () => this.changed(), onkeydown: (event) => this.key(event),
      onscroll: () => { this.code.scrollTop = this.input.scrollTop; this.code.scrollLeft = this.input.scrollLeft; },
    });
    this.problem = h('div.problem', { role: 'alert', hidden: true });
    this.state = h('span.muted.bar-state', { 'aria-live': 'polite' });
    this.save = h('button.button.primary', { type: 'button', onclick: () => this.put(), disabled: true }, 'Apply');
    this.again = h('button.button', { type: 'button', onclick: () => this.load() }, 'Reload');
    const canEdit = kind.can('update');
    this.input.readOnly = !canEdit;
    this.el = h('div.yaml',
      h('div.bar', this.state,
        h('button.button', { type: 'button', onclick: () => copy(this.input.value) }, icon('copy'), 'Copy'),
        this.again, canEdit && this.save),
      this.problem,
      h('div.yaml-pane', this.code, this.input));
    scope.add(() => { this.isOver = true; });
    this.load();
  }

  async load() {
    this.problem.hidden = true;
    try {
      const text = await request(this.path, { accept: YAML });
      if (this.isOver) return;
      this.original = withoutBookkeeping(text).trimEnd() + '\n';
      this.version = /^ {2}resourceVersion: ['"]?(\w+)/m.exec(this.original)?.[1];
      this.input.value = this.original;
      this.paint();
    } catch (error) {
      this.fail(error);
    }
  }

  get isChanged() { return this.original !== undefined && this.input.value !== this.original; }

  paint() {
    put(this.code, painted(this.input.value));
    this.save.disabled = !this.isChanged;
    this.state.textContent = this.isChanged ? 'Changed, not applied yet' : this.input.readOnly ? 'Read only' : 'Edit, then Apply (Ctrl+S)';
  }

  changed() {
    this.paint();
  }

  /** The object has moved on; the text follows, unless somebody works on it. */
  moved(object) {
    if (this.version === undefined || object.metadata.resourceVersion === this.version) return;
    if (this.isChanged) this.state.textContent = 'The object has changed in the meantime: Reload to see it';
    else this.load();
  }

  key(event) {
    if ((event.ctrlKey || event.metaKey) && event.key === 's') {
      event.preventDefault();
      if (this.isChanged) this.put();
    } else if (event.key === 'Tab' && !event.shiftKey && !this.input.readOnly && this.isChanged) {
      event.preventDefault();
      document.execCommand('insertText', false, '  ');
    }
  }

  async put() {
    this.save.disabled = true;
    this.problem.hidden = true;
    try {
      await request(this.path, { method: 'PUT', body: this.input.value, type: YAML });
      toast(`${this.kind.kind} ${this.object.metadata.name} updated`);
      await this.load();
    } catch (error) {
      this.fail(error);
      this.save.disabled = false;
    }
  }

  fail(error) {
    if (this.isOver) return;
    this.problem.textContent = error.message;
    this.problem.hidden = false;
  }
}
