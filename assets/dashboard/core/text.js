// Texts that objects and programs give us, taken apart for showing. Pure.

import { PLAIN, restyle } from '../parts/vt.js';

/** What of a line without an end is kept. */
const REST_MAX = 80000;

/** One line of block YAML as `[class, text]` pairs. Pure. */
export function colors(line) {
  const found = /^(\s*(?:- )*)(?:((?:"[^"]*"|'[^']*'|[^\s#:"'][^:]*?)):(\s|$))?(.*)$/.exec(line);
  const [, indent, key, gap, rest] = found;
  const parts = [['', indent]];
  if (key !== undefined) parts.push(['k', key], ['', `:${gap}`]);
  if (/^#/.test(rest)) parts.push(['c', rest]);
  else if (/^(true|false|null|~)$/.test(rest)) parts.push(['b', rest]);
  else if (/^-?[0-9][0-9.]*$/.test(rest)) parts.push(['n', rest]);
  else if (/^["']/.test(rest)) parts.push(['q', rest]);
  else if (/^[|>][-+]?$/.test(rest)) parts.push(['b', rest]);
  else parts.push(['v', rest]);
  return parts.filter(([, text]) => text);
}

/** The text without `metadata.managedFields`: bookkeeping that nobody edits. Pure. */
export function withoutBookkeeping(text) {
  const lines = text.split('\n');
  const kept = [];
  let isInside = false;
  let isMeta = false;
  for (const line of lines) {
    if (/^\S/.test(line) && !line.startsWith('- ')) isMeta = line.startsWith('metadata:');
    if (isInside && /^( {2}- | {3}|\s*$)/.test(line)) continue;
    isInside = isMeta && line.startsWith('  managedFields:');
    if (!isInside) kept.push(line);
  }
  return kept.join('\n');
}

/** A line's text and the styles its escape sequences ask for, as `[text, style]` pairs. Pure. */
export function styled(text) {
  const parts = [];
  let style = PLAIN;
  let from = 0;
  for (const found of text.matchAll(/\x1b\[([0-9;]*)([A-Za-z])|\x1b\][^\x07]*\x07|\r$/g)) {
    if (found.index > from) parts.push([text.slice(from, found.index), style]);
    if (found[2] === 'm') style = restyle(style, found[1].split(';').map(Number));
    from = found.index + found[0].length;
  }
  if (from < text.length) parts.push([text.slice(from), style]);
  return parts;
}

/** Splits chunks into lines; what has no end yet waits. */
export class Lines {
  #rest = '';

  push(text) {
    const all = (this.#rest + text).split('\n');
    this.#rest = all.pop().slice(-REST_MAX);
    return all;
  }
}

/**
 * The documents of a YAML text with what a path is made of. Only top-level block fields are looked for: the server
 * reads the rest. Pure.
 */
export function documents(text) {
  const parts = text.split(/^---(?:[ \t].*)?$/m).filter((part) => part.split('\n').some((line) => line.trim() && !line.trim().startsWith('#')));
  return parts.map((part) => {
    const bare = (value) => value?.replace(/\s+#.*$/, '').trim().replace(/^(["'])(.*)\1$/, '$2') ?? '';
    const top = (name) => bare(new RegExp(`^${name}:[ \\t]*(.+)$`, 'm').exec(part)?.[1]);
    const metadata = /^metadata:[ \t]*(?:#.*)?\n((?:[ \t]+.*(?:\n|$)|[ \t]*\n)*)/m.exec(part)?.[1] ?? '';
    const indent = /^([ \t]+)\S/m.exec(metadata)?.[1] ?? '';
    const meta = (name) => bare(new RegExp(`^${indent}${name}:[ \\t]*(.+)$`, 'm').exec(metadata)?.[1]);
    return { text: part, apiVersion: top('apiVersion'), kind: top('kind'), name: meta('name'), namespace: meta('namespace') };
  });
}
