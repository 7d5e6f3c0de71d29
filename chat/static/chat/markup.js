// Lays out what a model wrote: paragraphs, headings, code, bold. It makes elements and text nodes, never markup from
// text, and no element that loads anything; a link stays the text that it is.

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const HEADING = /^ {0,3}#{1,6}\s+(.*)$/;
const INLINE = /(`[^`\n]+`|\*\*[^*\n]+\*\*)/;

// Text as blocks: { kind: "paragraph" | "heading" | "code", text }.
export function blocksOf(text) {
  const blocks = [];
  let fence = "";
  let open = null; // the block that the next line belongs to
  const begin = (kind, line) => blocks.push((open = { kind, text: line }));
  for (const line of text.split("\n")) {
    const mark = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (fence) {
      if (mark && mark[1].startsWith(fence) && !mark[2]) fence = open = "";
      else open.text += open.started ? `\n${line}` : line;
      if (open) open.started = true;
    } else if (mark) {
      fence = mark[1];
      begin("code", "");
    } else if (heading) {
      begin("heading", heading[1]);
      open = null;
    } else if (!line.trim()) open = null;
    else if (open) open.text += `\n${line}`;
    else begin("paragraph", line);
  }
  return blocks;
}

const shown = new WeakMap(); // container -> the blocks it shows

// Makes `container` show `text`; touches only what has changed, so that a long answer can grow smoothly.
// Returns the blocks.
export function show(container, text) {
  const before = shown.get(container) ?? [];
  const blocks = blocksOf(text);
  blocks.forEach((block, i) => update(container, i, before[i], block));
  while (container.children.length > blocks.length) container.lastElementChild.remove();
  shown.set(container, blocks);
  return blocks;
}

function update(container, i, before, block) {
  if (before?.kind === block.kind && before.text === block.text) return;
  const old = container.children[i];
  if (before?.kind === "code" && block.kind === "code" && block.text.startsWith(before.text)) {
    old.firstChild.append(block.text.slice(before.text.length));
  } else if (old) old.replaceWith(build(block));
  else container.append(build(block));
}

function build({ kind, text }) {
  if (kind === "code") return element("pre", element("code", text));
  const node = element("p", ...text.split(INLINE).map(inline));
  node.className = kind;
  return node;
}

function inline(piece) {
  if (!INLINE.test(piece)) return piece;
  return piece.startsWith("`") ? element("code", piece.slice(1, -1)) : element("strong", piece.slice(2, -2));
}

// An element with children; strings become text.
export function element(name, ...children) {
  const node = document.createElement(name);
  node.append(...children);
  return node;
}
