// One answer as plain data, so that it can be kept and restored, and what each event does to it. No DOM here.

export function newAnswer() {
  return { role: "assistant", content: "", request: newId(), seq: 0, statuses: [], reasoning: "" };
}

export function newId() {
  const random = crypto.getRandomValues(new Uint32Array(4)); // crypto.randomUUID is missing on plain http
  return Array.from(random, (n) => n.toString(36)).join("");
}

// Applies event number `seq` of the answer's run; one that was applied before changes nothing.
export function applyEvent(answer, seq, event) {
  if (seq <= answer.seq) return;
  answer.seq = seq;
  if (event.error) applyError(answer, event);
  else if (event.st) applyStatus(answer, event.st);
  else if (typeof event.d === "string" && event.s !== "meta") applyText(answer, event);
}

function applyText(answer, { s, d }) {
  if (answer.content && answer.source !== s) answer.content += "\n\n"; // text of another source
  answer.source = s;
  answer.content += d;
}

// Its sentence was the last text: it moves from the answer to where errors are shown.
function applyError(answer, { error, code }) {
  if (answer.content.endsWith(error)) answer.content = answer.content.slice(0, -error.length).trimEnd();
  answer.error = { message: error, code };
}

// The same id again updates the earlier status; reasoning comes in fragments.
function applyStatus(answer, status) {
  if (status.id === "reasoning") {
    answer.reasoning += status.message ?? "";
    return;
  }
  const { id, summary, message, inProgress, sticky } = status;
  const at = answer.statuses.findIndex((earlier) => earlier.id === id);
  answer.statuses.splice(at < 0 ? answer.statuses.length : at, at < 0 ? 0 : 1, {
    id,
    label: (summary || message || "").trim(),
    inProgress: Boolean(inProgress),
    sticky: Boolean(sticky),
  });
}

// What the status line shows of an answer while it is being made.
export function visibleStatuses(answer) {
  return answer.ended ? [] : answer.statuses.filter((s) => s.label && (s.inProgress || s.sticky));
}

const ENDINGS = {
  killed: "You stopped this answer.",
  abandoned: "This answer ended while the connection was away.",
};

// A line below an answer that is not complete.
export function ending(answer) {
  return answer.error ? "" : (ENDINGS[answer.ended] ?? "");
}

export function canAskAgain(answer) {
  return answer.error ? answer.error.code !== "too_large" : answer.ended === "abandoned";
}
