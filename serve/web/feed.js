// One WebSocket to this server, opened again when it is lost.

const firstPause = 500; // ms before the first attempt to come back; doubled for each further one
const longestPause = 10_000;

/**
 * Feed keeps one stream subscribed. It calls
 *   onState("connecting" | "live" | "offline"),
 *   onOpen() each time the connection stands and before the first event of it,
 *   onKline(event) for each kline event of the stream.
 */
export class Feed {
  #url;
  #on;
  #socket = null;
  #stream = "";
  #id = 0;
  #pause = firstPause;
  #timer = 0;

  constructor(handlers) {
    const url = new URL("stream", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#url = url;
    this.#on = handlers;
    addEventListener("online", () => this.#retry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#retry());
  }

  /** Follows another stream, in place of the one before. */
  follow(stream) {
    const before = this.#stream;
    this.#stream = stream;
    if (!this.#socket) {
      this.#connect();
    } else if (this.#socket.readyState === WebSocket.OPEN && before !== stream) {
      if (before) this.#send("UNSUBSCRIBE", before);
      this.#send("SUBSCRIBE", stream);
    }
  }

  #send(method, stream) {
    this.#socket.send(JSON.stringify({ method, params: [stream], id: ++this.#id }));
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#on.onState("connecting");
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => {
      this.#pause = firstPause;
      this.#send("SUBSCRIBE", this.#stream);
      this.#on.onState("live");
      this.#on.onOpen();
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.stream === this.#stream && message.data.e === "kline") this.#on.onKline(message.data);
    };
    socket.onclose = () => {
      this.#on.onState("offline");
      const pause = this.#pause * (0.7 + 0.6 * Math.random());
      this.#pause = Math.min(2 * this.#pause, longestPause);
      this.#timer = setTimeout(() => this.#connect(), pause);
    };
  }

  #retry() {
    if (this.#timer) this.#connect();
  }
}
