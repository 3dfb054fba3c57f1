// Elements as data, put on the page by changing only what differs: focus, selection and open details stay.
// Text always becomes a text node: whatever a log holds, it is never markup.

const SVG = "http://www.w3.org/2000/svg";

function make(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export const h = (tag, attributes, ...children) => make(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => make(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

const keyOf = (node) => (node.nodeType === 1 ? node.getAttribute("data-key") : null);

function alike(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
}

function change(old, fresh) {
  if (old.nodeType === 3) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  put(old, [...fresh.childNodes]);
}

// Make these the children of an element.
export function put(parent, fresh) {
  const wanted = fresh.flat(Infinity).filter((one) => one instanceof Node);
  const keyed = new Map();
  for (const child of parent.childNodes) if (keyOf(child) !== null) keyed.set(keyOf(child), child);
  let at = parent.firstChild;
  for (const one of wanted) {
    const key = keyOf(one);
    const known = key === null ? at : (keyed.get(key) ?? null);
    if (known !== null && known.parentNode === parent && alike(known, one)) {
      if (known !== at) parent.insertBefore(known, at);
      else at = at.nextSibling;
      change(known, one);
    } else {
      parent.insertBefore(one, at);
    }
  }
  while (at !== null) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// A table with a caption for those who hear it, that scrolls by itself where it is wider than the page.
export function table(caption, heads, rows, options = {}) {
  // On a phone each row becomes a card, where every cell needs its column's name beside it.
  for (const row of rows)
    [...row.children].forEach((cell, i) => cell.setAttribute("data-l", heads[i]?.text ?? heads[i] ?? ""));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    h(
      "table",
      { class: options.class },
      h("caption", { class: "unseen" }, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          heads.map((head) => h("th", { scope: "col", class: head.class }, head.text ?? head)),
        ),
      ),
      h("tbody", null, rows),
    ),
  );
}
