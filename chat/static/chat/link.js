// A WebSocket that comes back: it reconnects with growing, jittered pauses and notices a connection that has gone dead.

const SUBPROTOCOL = "amplify.chat.v1";
const FIRST_PAUSE = 500; // milliseconds, like all here
const LONGEST_PAUSE = 15_000;
const STEADY = 5_000; // a connection that lived this long starts the pauses over
const SILENCE = 20_000; // then ask whether the server is there …
const PATIENCE = 8_000; // … and give the connection up after this

export class Link {
  #url;
  #socket = null;
  #attempts = 0;
  #openedAt = 0;
  #heardAt = 0;
  #retry = 0;
  #stopped = false;

  // `onOpen()`, `onMessage(object)`, `onDown(code, attempts)`; `isNeeded()` says whether somebody waits for an answer.
  constructor(url, { onOpen, onMessage, onDown, isNeeded }) {
    this.#url = url;
    Object.assign(this, { onOpen, onMessage, onDown, isNeeded });
    setInterval(() => this.#watch(), 1_000);
    addEventListener("online", () => this.wake());
    document.addEventListener("visibilitychange", () => document.hidden || this.wake());
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  send(message) {
    if (this.isOpen) this.#socket.send(JSON.stringify(message));
  }

  // Connect now unless that is so or under way.
  wake() {
    if (this.#socket || this.#stopped) return;
    clearTimeout(this.#retry);
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    this.#heardAt = Date.now();
    socket.onopen = () => {
      this.#openedAt = this.#heardAt = Date.now();
      this.onOpen();
    };
    socket.onmessage = ({ data }) => {
      this.#heardAt = Date.now();
      this.onMessage(JSON.parse(data));
    };
    socket.onclose = ({ code }) => this.#down(code);
  }

  // Leave this connection and make another one.
  renew() {
    if (this.#socket) this.#drop();
  }

  // No more connections: the person is signed out.
  stop() {
    this.#stopped = true;
    this.#socket?.close();
  }

  #down(code) {
    this.#socket = null;
    if (this.#stopped) return;
    if (this.#openedAt && Date.now() - this.#openedAt > STEADY) this.#attempts = 0;
    this.#openedAt = 0;
    this.#attempts += 1;
    this.onDown(code, this.#attempts);
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (this.#attempts - 1));
    // Jitter: after a restart not everybody returns in the same moment.
    this.#retry = setTimeout(() => this.#wakeIfWanted(), pause * (0.5 + Math.random() / 2));
  }

  // A hidden page that waits for nothing connects when it is looked at again.
  #wakeIfWanted() {
    if (!document.hidden || this.isNeeded()) this.wake();
  }

  // Browsers learn late, or never, that a network has gone away; so ask.
  #watch() {
    const silent = Date.now() - this.#heardAt;
    if (!this.#socket || !this.isNeeded() || silent < SILENCE) return;
    if (silent > SILENCE + PATIENCE) this.#drop();
    else this.send({ type: "ping" });
  }

  #drop() {
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.#down(1006);
  }
}
