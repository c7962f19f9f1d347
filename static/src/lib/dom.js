// The few helpers that the pages need instead of a framework. Text only ever becomes text nodes, never markup.

export const $ = (selector, root = document) => root.querySelector(selector);

/** `h('a.button', {href: '/'}, 'text', child)`; `onclick` and the like are listeners, null and false leave an attribute out. */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split('.');
  const element = document.createElement(name);
  if (classes.length > 0) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon of src/icons.svg; what it means is said by its surroundings. */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Shows another icon in a button made with one. */
export function setIcon(button, name) {
  $('use', button).setAttribute('href', `#i-${name}`);
}

/** Sets text only where it differs: nothing is laid out or read out anew without need. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttr(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Makes `parent`'s children those of `items`, keeping the elements (and with them focus) of those that stay. */
export function reconcile(parent, items, keyOf, make, update) {
  const have = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  // What goes, goes first: nothing that stays is moved for it, which would take its focus.
  const keys = new Set(items.map((item) => String(keyOf(item))));
  for (const [key, child] of have) if (!keys.has(key)) child.remove();
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = have.get(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
}

/** localStorage, where it is allowed. */
export const remembered = {
  get(key, otherwise) {
    try {
      const text = localStorage.getItem(`headend.${key}`);
      return text === null ? otherwise : JSON.parse(text);
    } catch {
      return otherwise;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`headend.${key}`, JSON.stringify(value));
    } catch {
      // Private mode: it is forgotten, that is all.
    }
  },
};

/** Copies text and says so on the button. */
export async function copy(button, text) {
  const label = $('span', button);
  label.dataset.name ??= label.textContent;
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = 'Copied';
  } catch {
    // Pages without https have no clipboard: select the text instead.
    const code = button.parentElement.querySelector('code');
    if (code) getSelection().selectAllChildren(code);
    label.textContent = 'Press Ctrl+C';
  }
  setTimeout(() => (label.textContent = label.dataset.name), 1500);
}
