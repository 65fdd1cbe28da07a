// A log that stays quick with 100,000 lines: text nodes of 1,000 lines each, filled once a frame,
// of which only those in sight are drawn.
function repo2dockerLog(panel, followButton, count) {
  "use strict";
  const CHUNK = 1000; // lines in one text node
  const FRAME = 2000; // lines that one frame may add
  const all = []; // what is downloaded
  let waiting = []; // lines that the next frames add
  let lines = 0;
  let text = null; // the text node being filled, and the lines in it
  let filled = 0;
  let scheduled = false;
  let following = true;
  let top = 0; // where it was scrolled to, and how high it was, when looked at last
  let height = 0;
  const content = panel.appendChild(document.createElement("div"));

  function openChunk() {
    if (text) text.parentNode.classList.add("repo2docker-full");
    const chunk = document.createElement("div");
    text = document.createTextNode("");
    chunk.append(text);
    content.append(chunk);
    filled = 0;
  }

  function flush() {
    scheduled = false;
    const added = waiting.length > FRAME ? waiting.splice(0, FRAME) : waiting.splice(0);
    for (let at = 0; at < added.length; ) {
      if (!text || filled === CHUNK) openChunk();
      const part = added.slice(at, at + CHUNK - filled);
      text.appendData(part.join("\n") + "\n");
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
    add(message) {
      const added = message.split("\n");
      for (const line of added) {
        all.push(line);
        waiting.push(line);
      }
      lines += added.length;
      schedule();
    },
    clear() {
      all.length = lines = filled = 0;
      waiting = [];
      text = null;
      content.replaceChildren();
    },
    blob: () => new Blob([all.join("\n"), "\n"], { type: "text/plain;charset=utf-8" }),
  };
}
