// The chat page: what the person does, what the server says (docs/websocket.md), and what is shown of both.

import { applyEvent, canAskAgain, ending, newAnswer, newId, visibleStatuses } from "./answer.js";
import { Link } from "./link.js";
import { element, show } from "./markup.js";
import { showSpending } from "./spending.js";

const KEPT = "amplify-chat";
const KEEP_EVERY = 1_000; // milliseconds between two savings while an answer grows
const TOO_LARGE = 1009;
const UNAUTHORIZED = 4401;
const OWN_ERRORS = {
  too_large: "This conversation is too large to send. Start a new one, or ask about a smaller part.",
  lost: "The connection broke and the rest of this answer is gone.",
};

const [scroller, empty, conversation, statuses, connection, composer, question, send, stop, spoken] = [
  "scroller", "empty", "conversation", "statuses", "connection", "composer", "question", "send", "stop", "spoken",
].map((id) => document.getElementById(id));
const fresh = document.getElementById("new");
const spending = document.getElementById("spending");
const user = document.body.dataset.user;

let messages = restored();
let pending = null; // the answer that is not complete yet
let signedIn = false; // on the socket that is open now
const views = new Map(); // message -> its elements

const link = new Link(new URL("ws/chat", location.href.replace(/^http/, "ws").replace(/[?#].*/, "")), {
  onOpen: () => {
    connection.textContent = "";
    link.send({ type: "ping" });
  },
  onMessage: (message) => HANDLERS[message.type]?.(message),
  onDown,
  isNeeded: () => pending !== null,
});

// What the server says.

const HANDLERS = {
  // Somebody else has signed in meanwhile, in another tab: this page is not theirs.
  "auth.ok": (message) => {
    if (message.user !== user) return location.reload();
    signedIn = true;
    if (pending?.run) link.send({ type: "run.resume", run: pending.run, after: pending.seq });
    else if (pending) ask();
  },

  // The answer to the ping at the start; `auth.ok` goes before it, if it comes.
  pong: () => signedIn || signedOut(),

  "run.started": ({ id, run }) => {
    if (id !== pending?.request) return link.send({ type: "run.cancel", run }); // stopped before it began
    pending.run = run;
    keep();
  },

  event: ({ run, seq, event }) => {
    if (run !== pending?.run) return;
    applyEvent(pending, seq, event);
    paintSoon();
  },

  "run.ended": ({ run, reason }) => run === pending?.run && finish(reason),

  error: ({ code, error, id, run }) => {
    if (code === "unauthorized") return signedOut();
    const about = id ?? run ?? pending?.request;
    if (!pending || (about !== pending.request && about !== pending.run)) return;
    if (code === "draining") return link.renew(); // nothing has begun: ask the next server
    fail(code, code === "not_found" && pending.run ? OWN_ERRORS.lost : error);
  },
};

function onDown(code, attempts) {
  signedIn = false;
  if (code === UNAUTHORIZED) return signedOut();
  if (code === TOO_LARGE && pending) return fail("too_large", OWN_ERRORS.too_large);
  // The first attempts are quick: only what lasts is worth a word.
  if (pending && attempts > 1) connection.textContent = "Connection lost. Reconnecting …";
  else if (attempts > 3) connection.textContent = "The server cannot be reached. Trying again …";
}

// An answer that is not complete is taken up again when the person is back.
function signedOut() {
  link.stop();
  const signIn = element("a", "Sign in");
  signIn.href = location.pathname;
  connection.replaceChildren("You are signed out. ", signIn, " to go on; your conversation stays in this tab.");
  keep();
}

// What the person does.

function begin(text) {
  pending = newAnswer();
  messages.push({ role: "user", content: text }, pending);
  for (const again of conversation.querySelectorAll(".notice button")) again.remove();
  spoken.replaceChildren();
  paint();
  scroller.scrollTop = scroller.scrollHeight;
  keep();
  if (signedIn) ask();
  else link.wake();
}

// A question that may have arrived although its connection broke would be answered twice: the first one is stopped.
function ask() {
  if (pending.asked) {
    const killSwitch = { requestId: pending.request, value: true };
    link.send({ type: "chat.start", id: pending.request, body: { killSwitch } });
    pending.request = newId();
  }
  pending.asked = true;
  const body = { messages: history(), options: { requestId: pending.request } };
  link.send({ type: "chat.start", id: pending.request, body });
}

// What the model is told. A question that only met an error is left out, so that it cannot spoil those after it.
function history() {
  const earlier = messages.slice(0, messages.indexOf(pending));
  const isSaid = ({ content }, i) => content.trim() && !(earlier[i + 1]?.error && !earlier[i + 1].content);
  return earlier.filter(isSaid).map(({ role, content }) => ({ role, content }));
}

function askAgain(answer) {
  messages.splice(messages.indexOf(answer));
  begin(messages.pop().content);
}

// The text stops here at once; the server is told, or finds out by itself when nobody listens.
function stopAnswer() {
  if (!pending) return;
  if (pending.run) link.send({ type: "run.cancel", run: pending.run });
  finish("killed");
}

function finish(reason) {
  const answer = pending;
  const hadFocus = document.activeElement === stop;
  pending = null;
  answer.ended = reason;
  paint();
  speak(answer, Infinity);
  if (hadFocus) question.focus();
  keep();
  showSpending(spending); // it is in the books before its end is said
}

function fail(code, message) {
  pending.error ??= { code, message };
  finish("failed");
}

function startOver() {
  stopAnswer();
  messages = [];
  views.clear();
  conversation.replaceChildren();
  spoken.replaceChildren();
  paint();
  keep();
  question.focus();
}

// What is shown.

let painting = 0;

function paintSoon() {
  painting ||= requestAnimationFrame(paint);
  keepSoon();
}

function paint() {
  cancelAnimationFrame(painting);
  painting = 0;
  const following = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
  for (const message of messages) paintMessage(message);
  for (const [message, view] of views) {
    if (!messages.includes(message)) {
      view.article.remove();
      views.delete(message);
    }
  }
  empty.hidden = messages.length > 0;
  fresh.hidden = messages.length === 0;
  stop.hidden = !pending;
  if (pending && document.activeElement === send) stop.focus();
  send.hidden = Boolean(pending);
  paintStatuses(messages.at(-1));
  if (following) scroller.scrollTop = scroller.scrollHeight;
}

function paintMessage(message) {
  const view = views.get(message) ?? newView(message);
  if (view.isFinal) return;
  const isGoingOn = message === pending;
  const blocks = message.role === "user" ? [] : show(view.text, message.content);
  view.article.setAttribute("aria-busy", String(isGoingOn));
  view.waiting.hidden = !isGoingOn || Boolean(message.content);
  view.thoughts.hidden = !message.reasoning;
  view.thought.textContent = message.reasoning ?? "";
  if (isGoingOn) speak(message, blocks.length - 1);
  else paintEnd(view, message);
}

function newView(message) {
  const isUser = message.role === "user";
  const name = element("h2", isUser ? "You" : "Answer");
  name.className = "unseen";
  const text = element("div", ...(isUser ? [message.content] : []));
  text.className = "text";
  const waiting = element("p", element("i"), element("i"), element("i"));
  waiting.className = "waiting";
  waiting.setAttribute("role", "img");
  waiting.setAttribute("aria-label", "Waiting for the answer");
  const thought = element("p");
  const thoughts = element("details", element("summary", "Thinking"), thought);
  const article = element("article", name, thoughts, text, waiting);
  article.className = message.role;
  conversation.append(article);
  const view = { article, text, waiting, thoughts, thought, spoken: 0 };
  views.set(message, view);
  return view;
}

// Once, when nothing more can come.
function paintEnd(view, message) {
  view.isFinal = true;
  if (message.role === "user") return;
  if (message.error) view.article.append(notice(message.error.message, "error"));
  else if (ending(message)) view.article.append(notice(ending(message), "note"));
  else if (!message.content) view.article.append(notice("The model gave an empty answer. Try other words.", "note"));
  if (canAskAgain(message) && message === messages.at(-1)) {
    const again = element("button", "Ask again");
    again.type = "button";
    again.className = "quiet";
    again.addEventListener("click", () => !pending && askAgain(message));
    view.article.lastChild.append(again);
  }
}

function notice(sentence, kind) {
  const node = element("p", element("span", sentence));
  node.className = `notice ${kind}`;
  if (kind === "error") node.setAttribute("role", "alert");
  return node;
}

function paintStatuses(answer) {
  const lines = answer?.role === "assistant" ? visibleStatuses(answer) : [];
  const wanted = lines.map((status) => status.label);
  const current = Array.from(statuses.children, (line) => line.textContent);
  if (wanted.join("\n") === current.join("\n") && lines.length === current.length) return;
  statuses.replaceChildren(
    ...lines.map((status) => {
      const line = element("p", status.label);
      line.className = status.inProgress ? "going" : "";
      return line;
    }),
  );
}

// Screen readers hear whole paragraphs, as they become complete, instead of every token.
function speak(answer, upTo) {
  const view = views.get(answer);
  const complete = Array.from(view.text.children).slice(0, Math.max(upTo, 0));
  for (const block of complete.slice(view.spoken)) spoken.append(element("p", block.textContent));
  view.spoken = Math.max(view.spoken, complete.length);
}

// What is kept: in this tab, for this person.

let keeping = 0;

function keepSoon() {
  keeping ||= setTimeout(keep, KEEP_EVERY);
}

function keep() {
  clearTimeout(keeping);
  keeping = 0;
  keepUpTo(Infinity) || keepUpTo(20_000);
}

// False if there is no room, or none at all: then the page works on, it only forgets at a reload.
function keepUpTo(length) {
  const cut = (message) => ({ ...message, content: `${message.content.slice(0, length)} …` });
  const kept = messages.map((message) => (message.content.length > length ? cut(message) : message));
  try {
    sessionStorage.setItem(KEPT, JSON.stringify({ user, messages: kept }));
    return true;
  } catch {
    return false;
  }
}

function restored() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT));
    return kept?.user === user ? kept.messages : [];
  } catch {
    return [];
  }
}

// Everything together.

function fitQuestion() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
  send.disabled = !question.value.trim();
}

// Half an emoji is no valid JSON text.
function wellFormed(text) {
  return text.toWellFormed?.() ?? text;
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = wellFormed(question.value).trim();
  if (!text || pending) return;
  question.value = "";
  fitQuestion();
  begin(text);
});
question.addEventListener("input", fitQuestion);
question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});
stop.addEventListener("click", stopAnswer);
fresh.addEventListener("click", startOver);
for (const suggestion of document.querySelectorAll(".suggestion")) {
  suggestion.addEventListener("click", () => {
    begin(suggestion.textContent);
    question.focus();
  });
}
document.getElementById("sign-out").addEventListener("submit", () => {
  removeEventListener("pagehide", keep);
  sessionStorage.removeItem(KEPT);
  link.stop();
});
addEventListener("pagehide", keep);

const last = messages.at(-1);
if (last?.role === "assistant" && !last.ended) pending = last;
paint();
for (const [message, view] of views) if (message === pending) view.spoken = view.text.children.length;
fitQuestion();
scroller.scrollTop = scroller.scrollHeight;
link.wake();
showSpending(spending);
