// One WebSocket to this server, opened again when it is lost.

const firstPause = 400; // ms before the first attempt to come back; doubled for each further one, until a connection lasts
const longestPause = 3000;
const switchEvery = 300; // ms between two changes of the stream: a server takes only so many messages a second
const askEvery = 10_000; // ms between signs of life; a connection that leaves one unanswered is lost

/**
 * Feed keeps one stream subscribed. It calls
 *   onState("connecting" | "live" | "offline", at: when the next attempt is made),
 *   onReady() each time the stream's subscription stands: what comes later is not missed,
 *   onKline(event) for each kline event of the stream.
 */
export class Feed {
  #url;
  #on;
  #socket = null;
  #stream = "";
  #followed = ""; // the stream that this connection was last told of
  #switched = 0; // when
  #switching = 0; // the timer of the next change
  #id = 0;
  #ready = 0; // the id of the SUBSCRIBE whose answer is waited for
  #asked = 0; // the id of the sign of life whose answer is waited for
  #pause = firstPause;
  #timer = 0;

  constructor(handlers) {
    const url = new URL("stream", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.search = "revisions=1";
    this.#url = url;
    this.#on = handlers;
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => document.hidden || this.retry());
    setInterval(() => this.#ask(), askEvery);
  }

  get live() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Follows another stream, in place of the one before. */
  follow(stream) {
    this.#stream = stream;
    if (!this.#socket) this.#connect();
    else this.#switch();
  }

  #switch() {
    if (!this.live || this.#followed === this.#stream || this.#switching) return;
    const pause = this.#switched + switchEvery - Date.now();
    if (pause > 0) {
      this.#switching = setTimeout(() => {
        this.#switching = 0;
        this.#switch();
      }, pause);
      return;
    }
    this.#send("UNSUBSCRIBE", [this.#followed]);
    this.#subscribe();
  }

  #subscribe() {
    this.#followed = this.#stream;
    this.#switched = Date.now();
    this.#ready = this.#send("SUBSCRIBE", [this.#stream]);
  }

  /** Tries at once, where an attempt is due later. */
  retry() {
    if (this.#timer) this.#connect();
  }

  #send(method, params) {
    this.#socket.send(JSON.stringify({ method, params, id: ++this.#id }));
    return this.#id;
  }

  #ask() {
    if (!this.live) return;
    if (this.#asked) this.#lost(this.#socket);
    else this.#asked = this.#send("LIST_SUBSCRIPTIONS");
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#asked = 0;
    this.#on.onState("connecting");
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => this.#subscribe();
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = () => this.#lost(socket);
  }

  #take(message) {
    if (message.stream) {
      if (message.stream === this.#stream && message.data.e === "kline") this.#on.onKline(message.data);
    } else if (message.id === this.#ready) {
      this.#on.onState("live");
      this.#on.onReady();
    } else if (message.id === this.#asked) {
      this.#asked = 0;
      this.#pause = firstPause; // it has stood for a while
    }
  }

  #lost(socket) {
    if (socket !== this.#socket || this.#timer) return;
    socket.onclose = socket.onmessage = null;
    socket.close();
    const pause = this.#pause * (0.7 + 0.6 * Math.random());
    this.#pause = Math.min(2 * this.#pause, longestPause);
    this.#timer = setTimeout(() => this.#connect(), pause);
    this.#on.onState("offline", Date.now() + pause);
  }
}
