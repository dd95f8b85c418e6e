// The terminal's screen: what programs write, and what stands there afterwards.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PLAIN, Screen, indexed, keySequence, restyle, runs, width } from '../../assets/dashboard/parts/vt.js';

/** The rows of a small screen after some output, and where the cursor is. */
function shown(output, cols = 10, rows = 4) {
  const screen = new Screen(cols, rows);
  screen.write(output);
  return { rows: screen.lines.map((_, y) => screen.row(y)), at: [screen.x, screen.y], screen };
}

const CASES = [
  ['text wraps only when more comes', '0123456789', ['0123456789', '', '', ''], [9, 0]],
  ['and then goes on below', '0123456789a', ['0123456789', 'a', '', ''], [1, 1]],
  ['without wrapping the last cell is written over', '\x1b[?7l0123456789ab', ['012345678b', '', '', ''], [9, 0]],
  ['carriage return and line feed', 'ab\r\ncd\ref', ['ab', 'ef', '', ''], [2, 1]],
  ['backspace moves only', 'abc\b\bX', ['aXc', '', '', ''], [2, 0]],
  ['tabs', 'a\tb', ['a       b', '', '', ''], [9, 0]],
  ['the screen scrolls', '1\r\n2\r\n3\r\n4\r\n5', ['2', '3', '4', '5'], [1, 3]],
  ['cursor positions count from one', '\x1b[2;3Hx', ['', '  x', '', ''], [3, 1]],
  ['and stay on the screen', '\x1b[99;99Hx', ['', '', '', '         x'], [9, 3]],
  ['relative movements', 'abc\x1b[2Dx\x1b[By\x1b[Az', ['axcz', '  y', '', ''], [4, 0]],
  ['erase to the end of the line', 'abcdef\x1b[4D\x1b[K', ['ab', '', '', ''], [2, 0]],
  ['erase from its beginning', 'abcdef\x1b[4D\x1b[1K', ['   def', '', '', ''], [2, 0]],
  ['erase the screen', 'ab\r\ncd\x1b[2Jx', ['', '  x', '', ''], [3, 1]],
  ['erase below', 'ab\r\ncd\r\nef\x1b[2;2H\x1b[J', ['ab', 'c', '', ''], [1, 1]],
  ['insert and delete characters', 'abcd\x1b[1G\x1b[2@xy\x1b[P', ['xybcd', '', '', ''], [2, 0]],
  ['insert and delete lines', '1\r\n2\r\n3\x1b[2;1H\x1b[Lx\x1b[4;1H\x1b[M', ['1', 'x', '2', ''], [0, 3]],
  ['a region scrolls alone', '1\r\n2\r\n3\r\n4\x1b[2;3r\x1b[3;1H\n!', ['1', '3', '!', '4'], [1, 2]],
  ['reverse line feed at the top', '1\r\n2\x1b[1;1H\x1bMx', ['x', '1', '2', ''], [1, 0]],
  ['saved cursors', 'ab\x1b7\x1b[3;3Hx\x1b8c', ['abc', '', '  x', ''], [3, 0]],
  ['line drawing', '\x1b(0lqk\x1b(Bq', ['┌─┐q', '', '', ''], [4, 0]],
  ['repetition', 'a\x1b[3b', ['aaaa', '', '', ''], [4, 0]],
  ['wide characters take two cells', '안녕x', ['안녕x', '', '', ''], [5, 0]],
  ['and do not stand half in the margin', '012345678안', ['012345678', '안', '', ''], [2, 1]],
  ['half of one written over leaves nothing', '안녕\x1b[2Gx', [' x녕', '', '', ''], [2, 0]],
  ['combining marks join their letter', 'e\u0301x', ['e\u0301x', '', '', ''], [2, 0]],
  ['titles and unknown sequences are swallowed', '\x1b]0;title\x07a\x1b[?1;2;3zb\x1bP1$r\x1b\\c', ['abc', '', '', ''], [3, 0]],
  ['a broken sequence does not swallow what follows', '\x1b[12\x18ab', ['ab', '', '', ''], [2, 0]],
];

for (const [name, output, rows, at] of CASES) {
  test(name, () => {
    const seen = shown(output);
    assert.deepEqual(seen.rows, rows);
    assert.deepEqual(seen.at, at);
    // However the output is cut into pieces, the screen is the same.
    const screen = new Screen(10, 4);
    for (const char of output) screen.write(char);
    assert.deepEqual(screen.lines.map((_, y) => screen.row(y)), rows);
  });
}

test('the alternate screen comes and goes', () => {
  const { screen } = shown('shell\x1b[?1049h\x1b[Hvi');
  assert.equal(screen.row(0), 'vi');
  assert.ok(screen.isAlternate);
  screen.write('\x1b[?1049l$');
  assert.equal(screen.row(0), 'shell$');
  assert.equal(screen.scrollback.length, 0);
});

test('what leaves the top is kept, but not that of a full-screen program', () => {
  const { screen } = shown('1\r\n2\r\n3\r\n4\r\n5\r\n6');
  assert.deepEqual(screen.scrollback.map((line) => line.text.join('').trim()), ['1', '2']);
  screen.write('\x1b[?1049h\r\n\r\n\r\n\r\n\r\n\r\n');
  assert.equal(screen.scrolled, 2);
});

test('resizing keeps the lines around the cursor', () => {
  const { screen } = shown('1\r\n2\r\n3\r\n4');
  screen.resize(6, 2);
  assert.deepEqual([screen.row(0), screen.row(1)], ['3', '4']);
  assert.deepEqual([screen.x, screen.y], [1, 1]);
  screen.resize(20, 5);
  assert.equal(screen.lines.length, 5);
  assert.ok(screen.lines.every((line) => line.text.length === 20));
  screen.write('\r\nmore');
  assert.equal(screen.row(2), 'more');
});

test('a screen that is resized below its cursor loses blank lines first', () => {
  const { screen } = shown('only', 10, 6);
  screen.resize(10, 2);
  assert.equal(screen.row(0), 'only');
  assert.equal(screen.scrollback.length, 0);
});

test('programs are answered', () => {
  const answers = [];
  const screen = new Screen(10, 4, (text) => answers.push(text));
  screen.write('ab\x1b[6n\x1b[5n\x1b[c');
  assert.deepEqual(answers, ['\x1b[1;3R', '\x1b[0n', '\x1b[?62;22c']);
});

test('colors', () => {
  assert.equal(restyle(PLAIN, [1, 31]).fg, 1);
  assert.equal(restyle(PLAIN, [95]).fg, 13);
  assert.equal(restyle(PLAIN, [38, 5, 208, 4]).underline, true);
  assert.equal(restyle(PLAIN, [38, 5, 208]).fg, 208);
  assert.equal(restyle(PLAIN, [48, 2, 255, 0, 16]).bg, '#ff0010');
  assert.equal(restyle(PLAIN, [[38, 2, 0, 255, 0, 16]]).fg, '#ff0010');
  assert.deepEqual(restyle(restyle(PLAIN, [1, 7, 42]), [0]), PLAIN);
  assert.equal(indexed(208), '#ff8700');
  assert.equal(indexed(244), '#808080');
  const { screen } = shown('a\x1b[31mbc\x1b[0m안d');
  assert.deepEqual(runs(screen.lines[0]).map(([text, style, isWide]) => [text, style.fg, isWide]), [['a', null, false], ['bc', 1, false], ['안', null, true], ['d    ', null, false]]);
});

test('widths', () => {
  assert.deepEqual([...'a한中🚀\u0301é'].map(width), [1, 2, 2, 2, 0, 1]);
});

test('keys', () => {
  const key = (key, more = {}, app = false) => keySequence({ key, ...more }, app);
  assert.equal(key('ArrowUp'), '\x1b[A');
  assert.equal(key('ArrowUp', {}, true), '\x1bOA');
  assert.equal(key('ArrowLeft', { ctrlKey: true }, true), '\x1b[1;5D');
  assert.equal(key('Home'), '\x1b[H');
  assert.equal(key('Delete'), '\x1b[3~');
  assert.equal(key('F1'), '\x1bOP');
  assert.equal(key('F5', { shiftKey: true }), '\x1b[15;2~');
  assert.equal(key('c', { ctrlKey: true }), '\x03');
  assert.equal(key(' ', { ctrlKey: true }), '\x00');
  assert.equal(key('b', { altKey: true }), '\x1bb');
  assert.equal(key('Enter'), '\r');
  assert.equal(key('Tab', { shiftKey: true }), '\x1b[Z');
  assert.equal(key('a'), null);
  assert.equal(key('한'), null);
  assert.equal(key('c', { metaKey: true }), null);
  assert.equal(key('Shift', { shiftKey: true }), null);
});

test('any bytes leave a screen of the same size', () => {
  let seed = 7;
  const random = () => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed; };
  const letters = ['\x1b', '[', ';', '1', '9', 'H', 'J', 'K', 'L', 'M', 'P', '@', 'r', 'm', '?', 'h', 'l', 'S', 'T', 'X', '\n', '\r', '\t', '안', 'x', '\x1bM', '\x1b[?1049h', '\x1b[?1049l', '\x1b[?6h', '\x1b7', '\x1b8', '\x9b', '4', '7'];
  const screen = new Screen(10, 4);
  for (let round = 0; round < 20000; round += 1) {
    screen.write(letters[random() % letters.length]);
    if (round % 500 === 0) screen.resize(2 + (random() % 30), 2 + (random() % 10));
    assert.equal(screen.lines.length, screen.rows);
    assert.ok(screen.x >= 0 && screen.x < screen.cols && screen.y >= 0 && screen.y < screen.rows);
    if (round % 97 === 0) assert.ok(screen.lines.every((line) => line.text.length === screen.cols && line.style.length === screen.cols), `round ${round}`);
  }
});
