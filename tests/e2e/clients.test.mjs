// MQTT clients that nobody here wrote at the agent's embedded broker, over TCP and over WebSocket: MQTT.js, mosquitto's and
// Eclipse Paho's for Python, each with MQTT 3.1.1 and 5. What they are told is looked at as it comes over the wire.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { access, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import mqtt from 'mqtt';
import { PATIENCE, endAll, freePort, startAgent, tempFolder } from './support.mjs';

const PAHO = '2.1.0';
const OTHER = 'bbbbbbbbbbbbbbbb';
const SESSION = '0'.repeat(32);
const NOT_AUTHORIZED = 0x87;
const run = promisify(execFile);

let web;
let tcp;
/** `pinhole/DEVICE`. */
let base;
let otherKey;
const open = new Set();

before(async () => {
  otherKey = generateKeyPairSync('ed25519').privateKey;
  const { x } = createPublicKey(otherKey).export({ format: 'jwk' });
  tcp = await freePort();
  const config = path.join(await tempFolder('config'), 'pinhole.toml');
  await writeFile(config, `[broker]\nlisten = "127.0.0.1:${tcp}"\naccept_devices = ["${OTHER}:${x}"]\n`);
  const agent = await startAgent({ state: await tempFolder('state'), listen: '127.0.0.1:0', args: ['--config', config] });
  const [page, fragment] = agent.links[0].split('#');
  web = Number(new URL(page).port);
  base = `pinhole/${JSON.parse(Buffer.from(fragment, 'base64url')).d}`;
});
after(async () => {
  for (const client of open) client.end(true);
  await endAll();
});

// ---- MQTT.js

/** A connection, and the packets that come by it. */
class Client {
  constructor(way, protocolVersion, options = {}) {
    const url = way === 'tcp' ? `mqtt://127.0.0.1:${tcp}` : `ws://127.0.0.1:${web}/mqtt`;
    this.client = mqtt.connect(url, { protocolVersion, reconnectPeriod: 0, connectTimeout: PATIENCE, ...options });
    this.packets = [];
    this.waiting = [];
    this.client.on('packetreceive', (packet) => this.came(packet));
    this.client.on('close', () => this.came({ cmd: 'close' }));
    this.client.on('error', () => {});
    open.add(this.client);
  }

  came(packet) {
    const at = this.waiting.findIndex(({ kinds }) => kinds.includes(packet.cmd));
    if (at < 0) this.packets.push(packet);
    else this.waiting.splice(at, 1)[0].resolve(packet);
  }

  /** The next packet of one of these kinds; `close` is the end of the connection. */
  next(...kinds) {
    const at = this.packets.findIndex(({ cmd }) => kinds.includes(cmd));
    if (at >= 0) return Promise.resolve(this.packets.splice(at, 1)[0]);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${kinds} came`)), PATIENCE);
      this.waiting.push({ kinds, resolve: (packet) => (clearTimeout(timer), resolve(packet)) });
    });
  }

  async subscribe(topic, qos = 1) {
    this.client.subscribe(topic, { qos }, () => {});
    return (await this.next('suback')).granted[0];
  }

  /** The PUBACK's reason code (0 where it has none); `close` when the broker ends the connection. */
  async publish(topic, options = {}, payload = 'x') {
    this.client.publish(topic, payload, { qos: 1, ...options }, () => {});
    const packet = await this.next('puback', 'close');
    return packet.cmd === 'close' ? 'close' : (packet.reasonCode ?? 0);
  }

  end() {
    open.delete(this.client);
    return new Promise((resolve) => this.client.end(false, {}, resolve));
  }
}

async function connected(...args) {
  const client = new Client(...args);
  const { reasonCode, returnCode, sessionPresent } = await client.next('connack');
  assert.equal(reasonCode ?? returnCode, 0);
  assert.equal(sessionPresent, false);
  return client;
}

for (const way of ['tcp', 'ws']) {
  for (const version of [4, 5]) {
    const five = version === 5;
    const name = `MQTT.js, ${five ? 'MQTT 5' : 'MQTT 3.1.1'} over ${way}`;

    test(`${name}: reads the retained status, sends to the device, and is refused all else`, async () => {
      const client = await connected(way, version);
      for (const qos of [0, 1]) {
        assert.equal(await client.subscribe(`${base}/status`, qos), qos);
        const message = await client.next('publish');
        assert.deepEqual([message.topic, message.qos, message.retain, JSON.parse(message.payload).online], [`${base}/status`, qos, true, true]);
      }
      assert.equal(await client.publish(`${base}/in`), 0);
      client.client.publish(`${base}/in`, 'x', { qos: 0 });
      assert.equal(await client.subscribe(`${base}/out/${SESSION}`), 1);
      const refused = five ? NOT_AUTHORIZED : 0x80;
      for (const filter of ['#', '+/+/status', 'pinhole/#', `${base}/in`, `${base}/out/+`, '$SYS/#', 'elsewhere']) {
        assert.equal(await client.subscribe(filter), refused, filter);
      }
      for (const [topic, retain] of [['status', false], ['status', true], [`out/${SESSION}`, false], ['in', true]]) {
        const bad = five ? client : await connected(way, version);
        assert.equal(await bad.publish(`${base}/${topic}`, { retain }), five ? NOT_AUTHORIZED : 'close', `${topic} ${retain}`);
      }
      assert.equal(await client.publish(`${base}/in`), 0, 'no harm was done');
      await client.end();
    });

    test(`${name}: a will may go where its client may publish`, async () => {
      for (const [topic, retain] of [['status', true], ['in', true], [`out/${SESSION}`, false]]) {
        const bad = new Client(way, version, { will: { topic: `${base}/${topic}`, payload: 'forged', qos: 1, retain } });
        const { reasonCode, returnCode } = await bad.next('connack');
        assert.equal(five ? reasonCode : returnCode, five ? NOT_AUTHORIZED : 5, topic);
        await bad.next('close');
      }
      const good = await connected(way, version, { will: { topic: `${base}/in`, payload: 'sealed bye', qos: 1, retain: false } });
      await good.end();
    });

    test(`${name}: the same client id takes over, and no session is kept`, async () => {
      const options = { clientId: `taken-${way}-${version}` };
      const first = await connected(way, version, options);
      const second = await connected(way, version, options);
      if (five) assert.equal((await first.next('disconnect')).reasonCode, 0x8e);
      else await first.next('close');
      assert.equal(await second.subscribe(`${base}/status`), 1);
      await second.end();
      const lasting = { ...options, clean: false, ...(five && { properties: { sessionExpiryInterval: 3600 } }) };
      const third = new Client(way, version, lasting);
      const connack = await third.next('connack');
      assert.equal(connack.sessionPresent, false);
      if (five) assert.equal(connack.properties.sessionExpiryInterval, 0);
      await third.end();
    });

    test(`${name}: a short keep-alive holds the connection`, async () => {
      const client = await connected(way, version, { keepalive: 1 });
      for (let pings = 0; pings < 2; pings += 1) await client.next('pingresp');
      assert.equal(await client.subscribe(`${base}/status`), 1);
      await client.end();
    });
  }
}

/** Another device of the house, as MQTT.js and Node's own cryptography play it. */
function device(way, options = {}) {
  const properties = { authenticationMethod: 'pinhole/1', authenticationData: Buffer.from(OTHER) };
  const client = new Client(way, 5, { properties, ...options });
  client.client.handleAuth = ({ properties: { authenticationMethod, authenticationData } }, done) => {
    const message = Buffer.concat([Buffer.from(`pinhole/1 broker login|${OTHER}|`), authenticationData]);
    const answer = { authenticationMethod, authenticationData: sign(null, message, options.key ?? otherKey) };
    done(null, { cmd: 'auth', reasonCode: 0x18, properties: answer });
  };
  return client;
}

for (const way of ['tcp', 'ws']) {
  test(`MQTT.js as another device over ${way}: logs in by its key, speaks for itself alone, and its will is told`, async () => {
    const there = `pinhole/${OTHER}`;
    const wrong = device(way, { key: generateKeyPairSync('ed25519').privateKey });
    assert.equal((await wrong.next('connack')).reasonCode, NOT_AUTHORIZED);
    const viewer = await connected(way, 4);
    await viewer.subscribe(`${there}/status`);
    assert.equal(JSON.parse((await viewer.next('publish')).payload).online, false, 'before it has come');

    const will = { topic: `${there}/status`, payload: '{"v":1,"online":false}', qos: 1, retain: true };
    const other = device(way, { will });
    assert.equal((await other.next('connack')).reasonCode, 0);
    assert.equal(await other.subscribe(`${there}/in`), 1);
    const online = JSON.stringify({ v: 1, online: true, nd: SESSION });
    assert.equal(await other.publish(`${there}/status`, { retain: true }, online), 0);
    assert.equal((await viewer.next('publish')).payload.toString(), online);
    assert.equal(await viewer.publish(`${there}/in`, {}, 'envelope'), 0);
    assert.equal((await other.next('publish')).payload.toString(), 'envelope');
    for (const topic of [`${base}/status`, `${base}/in`, `${there}/in`]) {
      assert.equal(await other.publish(topic, { retain: topic.endsWith('status') }), NOT_AUTHORIZED, topic);
    }
    await viewer.subscribe(`${there}/out/${SESSION}`);
    assert.equal(await other.publish(`${there}/out/${SESSION}`, {}, 'answer'), 0);
    assert.equal((await viewer.next('publish')).payload.toString(), 'answer');

    other.client.stream.destroy();
    assert.equal((await viewer.next('publish')).payload.toString(), will.payload);
    await viewer.end();
  });
}

// ---- mosquitto's clients

const mosquitto = (program, version, ...args) =>
  run(program, ['-h', '127.0.0.1', '-p', String(tcp), '-V', version, ...args], { timeout: PATIENCE }).catch((error) => error);

for (const version of ['mqttv311', 'mqttv5']) {
  test(`mosquitto_pub and mosquitto_sub, ${version}: read the retained status, send to the device, and are refused all else`, async () => {
    for (const qos of ['0', '1']) {
      const { stdout } = await mosquitto('mosquitto_sub', version, '-q', qos, '-t', `${base}/status`, '-C', '1', '-F', '%r %p');
      assert.match(stdout, /^1 \{"v":1,"online":true/);
      const sent = await mosquitto('mosquitto_pub', version, '-q', qos, '-t', `${base}/in`, '-m', 'x', '-k', '5');
      assert.equal(sent.stderr, '');
    }
    for (const filter of ['#', `${base}/in`, `${base}/out/+`, '$SYS/#']) {
      assert.match((await mosquitto('mosquitto_sub', version, '-t', filter, '-C', '1')).stderr, /denied/, filter);
    }
    const refused = await mosquitto('mosquitto_pub', version, '-q', '1', '-t', `${base}/status`, '-r', '-m', 'forged');
    assert.match(refused.stderr, /not authori[sz]ed|connection was lost|Connection error/i);
    const will = ['--will-topic', `${base}/status`, '--will-payload', 'forged', '--will-retain'];
    assert.match((await mosquitto('mosquitto_sub', version, ...will, '-t', `${base}/status`, '-C', '1')).stderr, /not authori[sz]ed/i);
    const { stdout } = await mosquitto('mosquitto_sub', version, '-t', `${base}/status`, '-C', '1');
    assert.equal(JSON.parse(stdout).online, true, 'nothing forged is kept');
  });
}

// ---- Eclipse Paho for Python

/** A Python with the client, kept outside the tree. */
async function python() {
  const cache = process.env.PINHOLE_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'pinhole');
  const folder = path.join(cache, `paho-${PAHO}`);
  const program = path.join(folder, 'bin', 'python');
  const works = async () => run(program, ['-c', 'import paho.mqtt.client']).then(() => true, () => false);
  if (await access(program).then(works, () => false)) return program;
  await run('python3', ['-m', 'venv', '--clear', folder]);
  await run(program, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', `paho-mqtt==${PAHO}`]);
  return program;
}

for (const way of ['tcp', 'websockets']) {
  for (const version of ['4', '5']) {
    test(`Paho for Python, ${version === '5' ? 'MQTT 5' : 'MQTT 3.1.1'} over ${way}`, async () => {
      const script = path.join(import.meta.dirname, 'clients', 'paho_client.py');
      const port = way === 'tcp' ? tcp : web;
      const { stdout } = await run(await python(), [script, '127.0.0.1', String(port), way, version, base], { timeout: 2 * PATIENCE });
      const five = version === '5';
      const seen = JSON.parse(stdout);
      assert.deepEqual(seen, {
        connected: [0, false],
        subscribed: 1,
        status: [true, true, true],
        sent: [0, 0],
        forbidden_subscriptions: Array(6).fill(five ? NOT_AUTHORIZED : 0x80),
        session: 1,
        // 3.1.1 has no other way to refuse than to end the connection, which Paho calls an unspecified error.
        forbidden: Array(5).fill(five ? NOT_AUTHORIZED : 0x80),
        still_there: 0,
        bad_will: NOT_AUTHORIZED,
        good_will: 0,
        // Paho looks at the reason only where at least one property follows; the others above see 0x8e.
        taken_over: five ? 0 : true,
        no_session_is_kept: [0, false],
        alive_after_two_pings: 1,
      });
    });
  }
}
