(function () {
  "use strict";
  const byId = (id) => document.getElementById("repo2docker-" + id);
  const data = JSON.parse(byId("data").textContent);
  const log = repo2dockerLog(byId("log"), byId("follow"), byId("count"));
  const steps = Array.from(byId("phases").children);
  const order = steps.map((step) => step.dataset.phase);

  let source = null;
  let heard = false; // whether any event ever came
  let launch = null; // which one; a later one begins anew
  let line = 0; // number of the last line that came
  let phase = "";
  let about = null;
  let began = performance.now();
  let failure = null;
  let end = ""; // "ready", "failed" or "cancelled"
  let name = byId("name").textContent;
  let short = "";

  // -- one connection for all scripts of this page ---------------------------------------
  // The hub's own script has a connection of its own, and would put each of 100,000 lines into
  // the page by itself. It is handed the events that are not the log, from ours.

  const Native = window.EventSource;
  const shared = new Set();
  const published = [];
  const path = new URL(data.progress, location.href).pathname;

  function SharedEventSource(url, init) {
    if (new URL(url, location.href).pathname !== path) return new Native(url, init);
    const one = Object.assign(new EventTarget(), {
      url: String(url), withCredentials: false, readyState: 1,
      onopen: null, onmessage: null, onerror: null,
      close() {
        shared.delete(one);
        one.readyState = 2;
      },
    });
    setTimeout(() => {
      published.forEach((event) => hand(one, event));
      if (one.readyState === 1) shared.add(one);
    });
    return one;
  }
  Object.assign(SharedEventSource, { CONNECTING: 0, OPEN: 1, CLOSED: 2 });
  window.EventSource = SharedEventSource;

  function hand(one, event) {
    const message = new MessageEvent("message", { data: JSON.stringify(event) });
    one.dispatchEvent(message);
    if (one.onmessage) one.onmessage(message);
  }

  let barAt = -1;
  function publish(event) {
    if (event.message === undefined && event.progress === barAt) return;
    barAt = event.progress;
    published.push(event);
    shared.forEach((one) => hand(one, event));
  }

  // -- the connection --------------------------------------------------------------------

  let pause = 1000;

  function connect() {
    source = new Native(data.progress);
    source.onopen = () => {
      byId("lost").hidden = true;
      pause = 1000;
    };
    source.onmessage = (message) => {
      heard = true;
      take(JSON.parse(message.data));
    };
    source.onerror = () => {
      if (end) return;
      byId("lost").hidden = false;
      // else the browser comes back by itself
      if (source.readyState === Native.CLOSED) setTimeout(lookAgain, pause);
    };
  }

  // The hub refused: it is starting itself, or has nothing to tell of this launch any more.
  async function lookAgain() {
    if (end) return;
    pause = Math.min(pause * 2, 15000);
    try {
      const answer = await fetch(location.href, { redirect: "manual", cache: "no-store" });
      if (heard && ![502, 503, 504].includes(answer.status)) return location.reload();
    } catch (error) {
      // not there yet
    }
    connect();
  }

  // -- events ----------------------------------------------------------------------------

  function take(event) {
    if (end) return;
    if (event.ready) {
      end = "ready";
      source.close();
      publish({ progress: 100, message: event.message });
      say("Your server is ready.");
      location.reload();
      return;
    }
    if (event.failed) return ended(event);
    if (event.index === undefined) {
      // the hub's own "requested", sent anew with each connection
      if (!line) publish({ progress: event.progress, message: event.message });
      return;
    }
    if (event.started !== launch) begin(event);
    if (event.line <= line) return;
    const [text, spans] = unseen(event);
    line = event.line;
    began = Math.min(began, performance.now() - event.elapsed * 1000);
    if (event.about !== undefined) about = event.about;
    if (event.launch) showTarget(event.launch);
    if (event.phase === "failed") {
      failure = { message: event.message, lines: event.failure ? event.failure.lines : [] };
      return;
    }
    if (event.phase === "cancelled") {
      end = "cancelling";
      return ended(event);
    }
    showPhase(event);
    log.add(text, spans);
    if (event.is_log) {
      byId("log-box").hidden = false;
      publish(
        phase === spoken
          ? { progress: event.progress }
          : { progress: event.progress, message: SENTENCES[phase] }
      );
      spoken = phase;
    } else {
      spoken = phase;
      publish({ progress: event.progress, message: event.message });
    }
  }

  // What is sent anew may come in other portions than before.
  function unseen(event) {
    const missing = event.line - line;
    if (event.gap) return ["… " + missing.toLocaleString("en") + " lines left out …"];
    const lines = event.message.split("\n");
    const text = missing < lines.length ? lines.slice(-missing).join("\n") : event.message;
    const off = event.message.length - text.length;
    const spans = (event.spans || []).filter(([start]) => start >= off);
    return [text, spans.map(([start, length, style]) => [start - off, length, style])];
  }

  function begin(event) {
    if (launch !== null) log.clear();
    launch = event.started;
    line = 0;
    failure = null;
    began = performance.now();
  }

  function showTarget(target) {
    name = target.name;
    short = target.short;
    byId("name").textContent = name;
    document.title = "Starting " + name;
    const parts = [];
    if (target.ref) parts.push(target.ref);
    if (target.url) {
      const link = document.createElement("a");
      link.href = target.url;
      link.rel = "noopener noreferrer";
      link.textContent = target.short || "source";
      parts.push(link);
    } else if (target.short) parts.push(target.short);
    if (target.subdir) parts.push("folder " + target.subdir);
    byId("target").replaceChildren(...parts.flatMap((part, at) => (at ? [" · ", part] : [part])));
  }

  // what the hub's own line says once the log is all that is told
  const SENTENCES = {
    waiting: "Waiting in line.",
    fetching: "Fetching the repository.",
    building: "Building the environment.",
    pushing: "Sending the image to the registry.",
    starting: "Starting your server.",
  };
  let spoken = "";

  let detail = "";
  function showPhase(event) {
    if (event.phase && event.phase !== phase && order.includes(event.phase)) {
      phase = event.phase;
      const at = order.indexOf(phase);
      steps.forEach((step, place) => {
        step.classList.toggle("repo2docker-done", place < at);
        step.classList.toggle("repo2docker-current", place === at);
        if (place === at) step.setAttribute("aria-current", "step");
        else step.removeAttribute("aria-current");
        if (place === at) step.hidden = false;
      });
      say(title(phase) + ".");
      detail = "";
    }
    if (event.place) {
      detail = "Number " + event.place + " in line";
      say(detail + ".");
    } else if (event.step && (phase === "building" || phase === "pushing")) {
      detail = "Step " + event.step[0] + " of " + event.step[1];
    }
    byId("detail").textContent = detail ? detail + " · " : "";
  }

  function title(word) {
    return word.charAt(0).toUpperCase() + word.slice(1);
  }

  function say(text) {
    byId("live").textContent = text;
  }

  function duration(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    const two = (number) => String(number).padStart(2, "0");
    const minutes = Math.floor(whole / 60);
    if (minutes < 60) return minutes + ":" + two(whole % 60);
    return Math.floor(minutes / 60) + ":" + two(minutes % 60) + ":" + two(whole % 60);
  }

  function words(seconds) {
    if (seconds < 90) return Math.max(1, Math.round(seconds)) + " seconds";
    return Math.round(seconds / 60) + " minutes";
  }

  function tick() {
    let text = duration((performance.now() - began) / 1000);
    if (about !== null && !end) text += ", usually about " + words(about);
    byId("time").textContent = text;
  }

  // -- its end ---------------------------------------------------------------------------

  function ended(event) {
    const cancelled = end === "cancelling" || event.message === "Spawn cancelled";
    const message = (event.message || "").replace(/^Spawn failed: ?/, "");
    if (!cancelled && !failure && event.html_message) {
      // told while this page wasn't listening: the hub's page of it has all
      location.reload();
      return;
    }
    end = cancelled ? "cancelled" : "failed";
    source.close();
    clearInterval(ticking);
    tick();
    document.body.classList.add("repo2docker-ended");
    byId("detail").textContent = "After ";
    byId("lost").hidden = byId("cancel-box").hidden = byId("cancel-error").hidden = true;
    byId("verb").textContent = cancelled ? "Cancelled:" : "Not started:";
    document.title = (cancelled ? "Cancelled: " : "Failed: ") + name;
    publish(cancelled ? { progress: barAt, message: "Cancelled." } : { progress: 100, failed: true, message: message });
    if (!cancelled) {
      byId("failure-message").textContent = failure ? failure.message : message ||
        "Your server did not start in time. Try again, or ask an administrator of this hub.";
      const lines = failure ? failure.lines : [];
      byId("failure-lines").textContent = lines.join("\n");
      byId("failure-lines").hidden = !lines.length;
    }
    const box = byId(cancelled ? "cancelled" : "failure");
    box.hidden = false;
    box.focus();
  }

  byId("cancel").addEventListener("click", async () => {
    const button = byId("cancel");
    const error = byId("cancel-error");
    button.disabled = true;
    button.textContent = "Cancelling…";
    error.hidden = true;
    say("Cancelling.");
    const before = end;
    let problem = "The hub can't be reached.";
    try {
      const answer = await fetch(data.server, {
        method: "DELETE",
        headers: { "X-XSRFToken": data.xsrf, Accept: "application/json" },
      });
      if (answer.ok) {
        if (end !== "cancelled" && end !== "failed") {
          end = "cancelling";
          ended({});
        }
        return;
      }
      const said = await answer.json().catch(() => ({}));
      problem = said.message || "The hub answered " + answer.status + ".";
    } catch (failed) {
      // said below
    }
    if (end !== before) return;
    button.disabled = false;
    button.textContent = "Cancel the start";
    error.textContent = "Not cancelled: " + problem;
    error.hidden = false;
  });

  byId("download").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(log.blob());
    link.download = (name + (short ? "-" + short : "")).replace(/[^A-Za-z0-9._-]+/g, "-") + ".log";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });

  // a page that the browser kept from before is not the present
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());

  // the hub takes the form's query along; this address is one to hand on
  const query = new URLSearchParams(location.search);
  if (query.has("_xsrf")) {
    query.delete("_xsrf");
    history.replaceState(null, "", location.pathname + (query.size ? "?" + query : ""));
  }

  byId("now").hidden = byId("cancel-box").hidden = false;
  const bar = document.getElementById("progress-bar");
  if (bar) bar.setAttribute("aria-label", "Progress of the start");
  const ticking = setInterval(tick, 1000);
  tick();
  connect();
})();
