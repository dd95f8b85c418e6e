// Elements. Text becomes text nodes and nothing else: there is no way from an object's content to markup.

const SVG = 'http://www.w3.org/2000/svg';

/** `h('div.card.wide', {title: 'x', onclick: f}, children…)`. Strings are text; null, false and undefined are left out. */
export function h(name, ...rest) {
  const [tag, ...classes] = name.split('.');
  return fill(document.createElement(tag || 'div'), classes, rest);
}

/** The same in SVG. */
export function s(name, ...rest) {
  const [tag, ...classes] = name.split('.');
  return fill(document.createElementNS(SVG, tag), classes, rest);
}

function fill(element, classes, rest) {
  if (classes.length) element.setAttribute('class', classes.join(' '));
  const first = rest[0];
  const isProps = first && typeof first === 'object' && !(first instanceof Node) && !Array.isArray(first);
  if (isProps) {
    set(element, first);
    rest = rest.slice(1);
  }
  append(element, rest);
  return element;
}

export function set(element, props) {
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) {
      if (value === false) element.removeAttribute(key);
    } else if (key.startsWith('on')) {
      element.addEventListener(key.slice(2), value);
    } else if (key === 'style') {
      for (const [name, text] of Object.entries(value)) element.style.setProperty(name, text);
    } else if (key === 'data') {
      Object.assign(element.dataset, value);
    } else if (key === 'value' || key === 'checked' || key === 'selected') {
      element[key] = value;
    } else {
      element.setAttribute(key, value === true ? '' : value);
    }
  }
}

export function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child);
  }
}

/** Replaces what is inside. A link that had the focus keeps it, if it is there again. */
export function put(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
  element.replaceChildren();
  append(element, children);
  if (focused) element.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  return element;
}

/** `work` at once, then at most every `pause` milliseconds, and once more for what came between. */
export function paced(work, pause = 250) {
  let timer = 0;
  let isDue = false;
  const turn = () => {
    timer = 0;
    if (isDue) run();
  };
  const run = () => {
    isDue = false;
    timer = setTimeout(turn, pause);
    work();
  };
  return () => {
    if (timer) isDue = true;
    else run();
  };
}

/** Collects what must end with a view. */
export class Scope {
  #ends = [];
  #over = false;

  /** `end` runs at the end, or at once when that has been. */
  add(end) {
    if (this.#over) end();
    else this.#ends.push(end);
    return end;
  }

  listen(target, type, handler, options) {
    target.addEventListener(type, handler, options);
    this.add(() => target.removeEventListener(type, handler, options));
  }

  get over() { return this.#over; }

  end() {
    this.#over = true;
    for (const end of this.#ends.splice(0).reverse()) end();
  }
}
