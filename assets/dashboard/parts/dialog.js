// Questions, and short messages at the edge of the screen.

import { append, h } from '../core/dom.js';
import { icon } from './icon.js';

/**
 * Asks; resolves with what `fields.read()` returns, or null. `act` runs while the dialog is open: what it throws is
 * shown in it.
 */
export function ask({ title, text, body, confirm = 'OK', isDanger = false, wide = false, act, read = () => true }) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const problem = h('p.problem', { role: 'alert', hidden: true });
    const yes = h('button.button', { type: 'submit', class: `button ${isDanger ? 'danger' : 'primary'}` }, confirm);
    const no = h('button.button', { type: 'button', onclick: () => finish(null) }, 'Cancel');
    const form = h('form', { method: 'dialog' },
      h('h2', title), text && h('p.muted', text), body, problem,
      h('div.dialog-buttons', no, yes));
    const dialog = h('dialog', { class: wide ? 'wide' : '', 'aria-label': title, oncancel: (event) => { event.preventDefault(); finish(null); } }, form);
    const finish = (value) => {
      dialog.close();
      dialog.remove();
      before?.focus?.();
      resolve(value);
    };
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const value = read();
      if (!act) return finish(value);
      yes.disabled = true;
      problem.hidden = true;
      try {
        await act(value);
        finish(value);
      } catch (error) {
        problem.textContent = error.message;
        problem.hidden = false;
        yes.disabled = false;
      }
      return undefined;
    });
    document.body.append(dialog);
    dialog.showModal();
    // What cannot be undone is not one key away.
    (form.querySelector('[autofocus]') ?? (isDanger ? no : yes)).focus();
  });
}

let shelf = null;

/** A message that goes away by itself; one about a failure stays until it is closed. */
export function toast(text, { isProblem = false } = {}) {
  if (!shelf) {
    shelf = h('div.toasts', { role: 'status', 'aria-live': 'polite' });
    document.body.append(shelf);
  }
  const close = () => one.remove();
  const one = h('div', { class: `toast ${isProblem ? 'bad' : ''}` }, icon(isProblem ? 'warn' : 'check'), h('span', text),
    h('button.plain', { type: 'button', 'aria-label': 'Close', onclick: close }, icon('close')));
  append(shelf, [one]);
  if (!isProblem) setTimeout(close, 4000);
}

export async function copy(text, what = 'Copied') {
  try {
    await navigator.clipboard.writeText(text);
    toast(what);
  } catch {
    toast('The browser does not allow copying here.', { isProblem: true });
  }
}

/** A command that can be copied. */
export function command(text) {
  return h('div.command', h('code', text),
    h('button.plain', { type: 'button', 'aria-label': `Copy: ${text}`, title: 'Copy', onclick: () => copy(text) }, icon('copy')));
}
