// Making and updating elements. All text becomes text nodes: nothing that a container says is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "line", "circle", "text", "title", "rect", "polyline"]);

/** h("a", {href: "#/"}, "text", child, [more]) */
export function h(tag, attributes = {}, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** Makes the children of `parent` what `fresh` is, touching only what differs: focus, selection and scroll stay. */
export function patch(parent, fresh) {
  const keyed = new Map();
  for (const child of parent.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let at = parent.firstChild;
  for (const child of fresh) {
    const key = child.dataset?.key;
    let old = key ? keyed.get(key) : at;
    if (old && !same(old, child)) old = null;
    if (!old) {
      parent.insertBefore(child, at);
      continue;
    }
    if (old === at) at = at.nextSibling;
    else parent.insertBefore(old, at);
    update(old, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** A place in a tree that `patch` leaves alone; `mount` puts an element with a life of its own there. */
export function slot(id) {
  return h("div", {"data-keep": id, class: "slot"});
}

export function mount(root, id, element) {
  for (const place of root.querySelectorAll("[data-keep]")) {
    if (place.dataset.keep === id && place.firstChild !== element) place.replaceChildren(element);
  }
}

function same(old, child) {
  return old.nodeName === child.nodeName
    && old.dataset?.key === child.dataset?.key
    && old.dataset?.keep === child.dataset?.keep;
}

function update(old, child) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.nodeValue !== child.nodeValue) old.nodeValue = child.nodeValue;
    return;
  }
  if (old.dataset.keep) return;
  for (const {name} of [...old.attributes]) {
    if (!child.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const {name, value} of child.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  patch(old, [...child.childNodes]);
}
