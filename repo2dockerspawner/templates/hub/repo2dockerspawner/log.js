// A log that stays quick with 100,000 lines: text nodes of 1,000 lines each, filled once a frame,
// of which only those in sight are drawn. What is coloured has elements of its own, but only the
// newest: a page of very many elements is slow.
function repo2dockerLog(panel, followButton, count) {
  "use strict";
  const CHUNK = 1000; // lines in one text node
  const FRAME = 2000; // lines that one frame may add
  const COLOURED = 20000; // elements of what is coloured
  const COLOURS = 9;
  const all = []; // what is downloaded
  let waiting = []; // lines that the next frames add; with colours: [line, spans]
  let lines = 0;
  let chunk = null; // what is being filled, and the lines in it
  let filled = 0;
  let coloured = []; // chunks that have colours, and how many elements in all of them
  let pieces = 0;
  let scheduled = false;
  let following = true;
  let top = 0; // where it was scrolled to, and how high it was, when looked at last
  let height = 0;
  const content = panel.appendChild(document.createElement("div"));

  function openChunk() {
    if (chunk) chunk.classList.add("repo2docker-full");
    chunk = content.appendChild(document.createElement("div"));
    filled = 0;
  }

  function write(text) {
    if (!text) return;
    if (chunk.lastChild instanceof Text) chunk.lastChild.appendData(text);
    else chunk.append(text);
  }

  // The names are made of numbers within bounds: nothing that a build prints gets in here.
  function classes(style) {
    const names = [];
    const colour = style & 15;
    const behind = (style >> 4) & 15;
    if (colour && colour <= COLOURS) names.push("repo2docker-colour-" + colour);
    if (behind && behind < COLOURS) names.push("repo2docker-behind-" + behind);
    if (style & 256) names.push("repo2docker-bold");
    if (style & 512) names.push("repo2docker-underline");
    return names.join(" ");
  }

  function colour(text, style) {
    const piece = chunk.appendChild(document.createElement("span"));
    piece.className = classes(style);
    piece.textContent = text;
    if (!coloured.length || coloured[coloured.length - 1].chunk !== chunk)
      coloured.push({ chunk: chunk, pieces: 0 });
    coloured[coloured.length - 1].pieces++;
    pieces++;
  }

  function fill(part) {
    let plain = "";
    for (const one of part) {
      if (typeof one === "string") {
        plain += one + "\n";
        continue;
      }
      const [line, spans] = one;
      let at = 0;
      for (const [start, length, style] of spans) {
        write(plain + line.slice(at, start));
        colour(line.slice(start, start + length), style);
        plain = "";
        at = start + length;
      }
      plain += line.slice(at) + "\n";
    }
    write(plain);
    while (pieces > COLOURED && coloured.length > 1) {
      const old = coloured.shift();
      old.chunk.textContent = old.chunk.textContent;
      pieces -= old.pieces;
    }
  }

  function flush() {
    scheduled = false;
    const added = waiting.length > FRAME ? waiting.splice(0, FRAME) : waiting.splice(0);
    for (let at = 0; at < added.length; ) {
      if (!chunk || filled === CHUNK) openChunk();
      const part = added.slice(at, at + CHUNK - filled);
      fill(part);
      filled += part.length;
      at += part.length;
    }
    count.textContent = lines === 1 ? "1 line" : lines.toLocaleString("en") + " lines";
    if (waiting.length) schedule();
  }

  function schedule() {
    if (scheduled) return;
    scheduled = true;
    // a page in the background has no frames, and must not fall behind for ever
    if (document.hidden) setTimeout(flush, 250);
    else requestAnimationFrame(flush);
  }

  function selecting() {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && panel.contains(selection.anchorNode);
  }

  // what comes into sight turns out higher or lower than was assumed of it
  const resized = new ResizeObserver(() => following && !selecting() && toEnd());
  resized.observe(content);
  resized.observe(panel);

  function toEnd() {
    panel.scrollTop = panel.scrollHeight;
    top = panel.scrollTop;
    height = panel.scrollHeight;
  }

  function follow(on) {
    following = on;
    followButton.hidden = on;
  }

  // What is drawn for the first time turns out higher than was assumed, which scrolls as well; a
  // person's scrolling comes after an input, or (searching) while the height stays as it is.
  let touched = -Infinity;
  for (const input of ["wheel", "keydown", "pointerdown", "touchmove"])
    panel.addEventListener(input, () => (touched = performance.now()), { passive: true });
  panel.addEventListener("scroll", () => {
    const byHand = performance.now() - touched < 1000 || panel.scrollHeight === height;
    if (panel.scrollHeight - panel.scrollTop - panel.clientHeight < 8) follow(true);
    else if (byHand && panel.scrollTop < top - 1) follow(false);
    top = panel.scrollTop;
    height = panel.scrollHeight;
  });
  followButton.addEventListener("click", () => {
    follow(true);
    toEnd();
    panel.focus({ preventScroll: true });
  });
  document.addEventListener("visibilitychange", () => {
    if (scheduled && !document.hidden) requestAnimationFrame(flush);
  });

  return {
    // spans: [start, length, style] of what is coloured in the message, in their order
    add(message, spans) {
      const added = message.split("\n");
      let next = 0;
      let begin = 0;
      for (const line of added) {
        all.push(line);
        const own = [];
        const end = begin + line.length;
        for (; spans && next < spans.length && spans[next][0] < end; next++)
          own.push([spans[next][0] - begin, spans[next][1], spans[next][2]]);
        waiting.push(own.length ? [line, own] : line);
        begin = end + 1;
      }
      lines += added.length;
      schedule();
    },
    clear() {
      all.length = lines = filled = pieces = 0;
      waiting = [];
      coloured = [];
      chunk = null;
      content.replaceChildren();
    },
    blob: () => new Blob([all.join("\n"), "\n"], { type: "text/plain;charset=utf-8" }),
  };
}
