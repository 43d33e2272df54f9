import assert from "node:assert/strict";
import { CT_DROPS } from "./reasons.ts";
import type { Packet } from "../packet/packet.ts";
import { ConntrackControl } from "./control.ts";
import {
  ACK,
  addressHex,
  areChecksumsRight,
  describe,
  Lab,
  makePacket,
  nat,
  type PacketSpec,
  plan,
  SYN,
} from "./testing/packets.ts";

const SNAT = nat({ direction: "src", addressMin: addressHex("192.0.2.100") });

/** A control connection of a client behind SNAT (or not), driven from both ends. */
class Control {
  readonly lab = new Lab();
  readonly client: string;
  readonly server: string;
  readonly seen: string;
  readonly #words: Int32Array;
  #clientSeq = 101;
  #serverSeq = 501;
  /** What translation added to the client's stream. */
  growth = 0;

  constructor(options: { readonly isTranslated: boolean; readonly isIpv6?: boolean }) {
    const { isTranslated, isIpv6 } = options;
    this.client = isIpv6 ? "fd00::1" : "10.0.0.1";
    this.server = isIpv6 ? "fd01::1" : "10.1.0.1";
    this.seen = !isTranslated ? this.client : isIpv6 ? "fd02::1234:5678" : "192.0.2.100";
    const translation = isIpv6 ? { ...SNAT, addressMin: addressHex(this.seen) } : SNAT;
    const words = plan({
      commit: true,
      helper: "ftp",
      ...(isTranslated ? { nat: translation } : {}),
    });
    this.#words = plan({ nat: nat() });
    this.lab.run(this.fromClient({ flags: SYN, seq: 100 }), words);
    this.lab.run(this.fromServer({ flags: SYN | ACK, seq: 500, ack: 101 }), this.#words);
    this.lab.run(this.fromClient({ flags: ACK, seq: 101, ack: 501 }), this.#words);
  }

  fromClient(spec: Partial<PacketSpec>): Packet {
    return makePacket({ src: this.client, dst: this.server, sport: 3000, dport: 21, ...spec });
  }

  fromServer(spec: Partial<PacketSpec>): Packet {
    return makePacket({ src: this.server, dst: this.seen, sport: 21, dport: 3000, ...spec });
  }

  /** The client says a line; returns what the server hears. The server acknowledges all of it. */
  say(text: string): string {
    const packet = this.fromClient({
      flags: ACK,
      seq: this.#clientSeq,
      ack: this.#serverSeq,
      payload: text,
    });
    assert.equal(this.lab.run(packet, this.#words), 0);
    assert.equal(this.lab.ct.invalidReason, 0);
    assert.ok(areChecksumsRight(packet));
    assert.equal(packet.view.getUint32(packet.l4At + 4), this.#clientSeq + this.growth);
    const heard = String.fromCharCode(...packet.bytes.slice(packet.l4At + 20, packet.end));
    this.#clientSeq += text.length;
    this.growth += heard.length - text.length;
    const ack = this.fromServer({
      flags: ACK,
      seq: this.#serverSeq,
      ack: this.#clientSeq + this.growth,
    });
    assert.equal(this.lab.run(ack, this.#words), 0);
    assert.equal(this.lab.ct.invalidReason, 0);
    assert.equal(ack.view.getUint32(ack.l4At + 8), this.#clientSeq);
    assert.ok(areChecksumsRight(ack));
    return heard;
  }

  /** The client says a line; returns why it is dropped. */
  trySaying(text: string): string | undefined {
    const spec = { flags: ACK, seq: this.#clientSeq, ack: this.#serverSeq, payload: text };
    return CT_DROPS[this.lab.run(this.fromClient(spec), this.#words)];
  }

  answer(text: string): string {
    const packet = this.fromServer({
      flags: ACK,
      seq: this.#serverSeq,
      ack: this.#clientSeq + this.growth,
      payload: text,
    });
    assert.equal(this.lab.run(packet, this.#words), 0);
    assert.equal(this.lab.ct.invalidReason, 0);
    assert.ok(areChecksumsRight(packet));
    this.#serverSeq += text.length;
    return String.fromCharCode(...packet.bytes.slice(packet.l4At + 20, packet.end));
  }
}

Deno.test("ftp: active mode through SNAT: PORT is rewritten, numbers follow, data is related", () => {
  const control = new Control({ isTranslated: true });
  control.answer("220 hello\r\n");
  control.say("USER me\r\n");
  assert.equal(control.say("PORT 10,0,0,1,18,52\r\n"), "PORT 192,0,2,100,18,52\r\n");
  assert.equal(control.growth, 3);
  control.answer("200 ok\r\n");
  const data = makePacket({
    src: "10.1.0.1",
    dst: "192.0.2.100",
    sport: 20,
    dport: 18 * 256 + 52,
    flags: SYN,
    seq: 9000,
  });
  const { lab } = control;
  assert.equal(lab.state(data, plan({ nat: nat() })), "new+rel+trk");
  assert.deepEqual([lab.ct.sourcePort, lab.ct.destinationPort], [3000, 21]);
  assert.equal(lab.state(data, plan({ commit: true, nat: nat() })), "new+rel+trk+snat+dnat");
  assert.equal(describe(data), "10.1.0.1:20>10.0.0.1:4660");
  assert.ok(areChecksumsRight(data));
  const reply = makePacket({
    src: "10.0.0.1",
    dst: "10.1.0.1",
    sport: 4660,
    dport: 20,
    flags: SYN | ACK,
    seq: 1,
    ack: 9001,
  });
  assert.equal(lab.state(reply, plan({ nat: nat() })), "est+rel+rpl+trk+snat");
  assert.equal(describe(reply), "192.0.2.100:4660>10.1.0.1:20");
  // What follows on the control connection is shifted.
  assert.equal(control.say("RETR x\r\n"), "RETR x\r\n");
  assert.equal(control.say("PORT 10,0,0,1,4,1\r\n"), "PORT 192,0,2,100,4,1\r\n");
  assert.equal(control.growth, 6);
  control.say("QUIT\r\n");
  const parents: (number | undefined)[] = [];
  new ConntrackControl(lab.buffers).dump(
    lab.nowMs,
    {},
    1,
    (found) => parents.push(found.parent?.destinationPort),
  );
  assert.deepEqual(parents.toSorted(), [21, undefined]);
});

Deno.test("ftp: passive mode, EPSV, EPRT over IPv6", () => {
  const plain = new Control({ isTranslated: false });
  plain.answer("220 hello\r\n");
  plain.say("PASV\r\n");
  plain.answer("227 Entering Passive Mode (10,1,0,1,200,1).\r\n");
  const data = { src: "10.0.0.1", dst: "10.1.0.1", sport: 5555, dport: 200 * 256 + 1, flags: SYN };
  assert.equal(plain.lab.state(makePacket(data), plan({ commit: true })), "new+rel+trk");
  plain.say("EPSV\r\n");
  plain.answer("229 Extended (|||40000|)\r\n");
  assert.equal(plain.lab.state(makePacket({ ...data, dport: 40000 }), plan()), "new+rel+trk");
  assert.equal(plain.lab.state(makePacket({ ...data, dport: 40001 }), plan()), "new+trk");

  const six = new Control({ isTranslated: true, isIpv6: true });
  six.answer("220 hello\r\n");
  six.say("USER me\r\n");
  assert.equal(
    six.say("EPRT |2|fd00::1|5282|\r\n"),
    "EPRT |2|fd02:0000:0000:0000:0000:0000:1234:5678|5282|\r\n",
  );
});

Deno.test("ftp: somebody else's address is not expected; text that only looks so is no command", () => {
  const control = new Control({ isTranslated: true });
  control.answer("220 hello\r\n");
  control.say("USER me\r\n");
  assert.equal(control.say("PORT 10,0,0,2,4,1\r\n"), "PORT 10,0,0,2,4,1\r\n");
  assert.equal(control.say("XPORT 10,0,0,1,4,1\r\n"), "XPORT 10,0,0,1,4,1\r\n");
  assert.equal(control.lab.tracker.expectations.count, 0);
});

Deno.test("ftp: what begins like an announcement and can't be read is dropped", () => {
  const lines = [
    ...["PORT 10,0,0,1,4\r\n", "PORT\r\n", "PORT 10,0,0,1,4,1\n", "PO", "EPRT |3|10.0.0.1|5|\r\n"],
    ...["EPRT |1|10.0.0|5|\r\n", "EPRT |1|10.0.0.1|0|\r\n", "EPRT |1|10.0.0.1|x|\r\n"],
  ];
  for (const line of lines) {
    const control = new Control({ isTranslated: false });
    control.answer("220 hello\r\n");
    control.say("USER me\r\n");
    assert.equal(control.trySaying(line), "ct-helper", line);
    assert.equal(control.lab.tracker.expectations.count, 0);
  }
});

Deno.test("ftp: passive mode of a server behind DNAT: its answer names the address that clients know", () => {
  const lab = new Lab();
  const client = { src: "203.0.113.9", dst: "192.0.2.50", sport: 3000, dport: 21 };
  const server = { src: "10.0.0.5", dst: "203.0.113.9", sport: 21, dport: 3000 };
  const dst = nat({ direction: "dst", addressMin: addressHex("10.0.0.5") });
  const commit = plan({ commit: true, helper: "ftp", nat: dst });
  const follow = plan({ nat: nat() });
  lab.run(makePacket({ ...client, flags: SYN, seq: 100 }), commit);
  lab.run(makePacket({ ...server, flags: SYN | ACK, seq: 500, ack: 101 }), follow);
  lab.run(makePacket({ ...client, flags: ACK, seq: 101, ack: 501 }), follow);
  lab.run(makePacket({ ...server, flags: ACK, seq: 501, ack: 101, payload: "220 hi\r\n" }), follow);
  const answer = makePacket({
    ...server,
    flags: ACK,
    seq: 509,
    ack: 101,
    payload: "227 Entering Passive Mode (10,0,0,5,100,7)\r\n",
    partial: true,
  });
  assert.equal(lab.run(answer, follow), 0);
  const text = String.fromCharCode(...answer.bytes.slice(answer.l4At + 20, answer.end));
  assert.equal(text, "227 Entering Passive Mode (192,0,2,50,100,7)\r\n");
  assert.ok(areChecksumsRight(answer));
  const data = makePacket({ ...client, sport: 3001, dport: 100 * 256 + 7, flags: SYN, seq: 7 });
  assert.equal(lab.state(data, plan({ commit: true, nat: nat() })), "new+rel+trk+snat+dnat");
  assert.equal(describe(data), "203.0.113.9:3001>10.0.0.5:25607");
});

Deno.test("tftp: the answer comes from another port and is related", () => {
  const lab = new Lab();
  const words = plan({ commit: true, helper: "tftp", nat: SNAT });
  const request = makePacket({
    src: "10.0.0.1",
    dst: "10.1.0.1",
    protocol: 17,
    sport: 2000,
    dport: 69,
    payload: "\0\x01file\0octet\0",
  });
  lab.run(request, words);
  const answer = makePacket({
    src: "10.1.0.1",
    dst: "192.0.2.100",
    protocol: 17,
    sport: 54321,
    dport: 2000,
    payload: "\0\x03\0\x01data",
  });
  assert.equal(lab.state(answer, plan({ commit: true, nat: nat() })), "new+rel+trk+snat+dnat");
  assert.equal(describe(answer), "10.1.0.1:54321>10.0.0.1:2000");
  assert.ok(areChecksumsRight(answer));
  assert.equal(lab.tracker.expectations.count, 0);
});
