// Which of the known devices are there: while the list is looked at, one connection to each of their brokers follows
// their status topics. Not here: the device that is being watched, which has a connection of its own (connection.mjs),
// and how it is shown (view.mjs).

import { brokerUrl } from './browser.mjs';
import { parseStatus, topics } from './protocol.mjs';
import { ways } from './state.mjs';
import { backoff } from './timing.mjs';

/** For one broker to answer. Milliseconds. */
const PATIENCE_MS = 8_000;
/** Brokers that are asked at once at most; a browser limits its WebSockets, too. */
const MAX_BROKERS = 8;

/** The brokers of these records, each with the topics to follow: a map from address to a map from topic to device. Pure. */
export function plan(records, location) {
  const brokers = new Map();
  for (const record of records) {
    for (const way of ways(record)) {
      const url = brokerUrl(way, location);
      if (!brokers.has(url) && brokers.size >= MAX_BROKERS) continue;
      const followed = brokers.get(url) ?? new Map();
      followed.set(topics(record.r, record.d).status, record.d);
      brokers.set(url, followed);
    }
  }
  return brokers;
}

export class Presence {
  /**
   * `Broker` is the class of a connection (broker.mjs); `changed` is called with a map from device to `online` or
   * `offline` at each change. A device that nobody could be asked about is not in it.
   */
  constructor({ Broker, location, changed }) {
    this.Broker = Broker;
    this.location = location;
    this.changed = changed;
    /** By broker's address: {connection, timer, failures, said: map from device to whether it is online}. */
    this.followed = new Map();
  }

  /** Begins to follow these records, instead of any before. */
  follow(records) {
    this.stop();
    for (const [url, byTopic] of plan(records, this.location)) {
      const one = { connection: null, timer: null, failures: 0, said: new Map() };
      this.followed.set(url, one);
      this.connect(url, byTopic, one);
    }
  }

  stop() {
    for (const { connection, timer } of this.followed.values()) {
      connection?.close();
      clearTimeout(timer);
    }
    this.followed.clear();
  }

  connect(url, byTopic, one) {
    one.connection = new this.Broker(url, PATIENCE_MS, [...byTopic.keys()], {
      up: () => (one.failures = 0),
      down: () => {
        one.connection = null;
        one.failures += 1;
        one.said.clear();
        one.timer = setTimeout(() => this.connect(url, byTopic, one), backoff(one.failures, Math.random()));
        this.tell();
      },
      message: (topic, text) => {
        const status = parseStatus(text);
        if (!status || !byTopic.has(topic)) return;
        one.said.set(byTopic.get(topic), status.online);
        this.tell();
      },
    });
  }

  /** A device is online if any broker says so: it may have lost its way to another. */
  tell() {
    const all = new Map();
    for (const { said } of this.followed.values()) {
      for (const [d, online] of said) if (online || !all.has(d)) all.set(d, online ? 'online' : 'offline');
    }
    this.changed(all);
  }
}
