/** Scenarios of connection tracking: FTP and TFTP, whose payload announces other connections. */
import { SYN } from "../../datapath/conntrack/testing/packets.ts";
import { A, A6, send, UDP } from "./kernel_ct_frames.ts";
import type { CtFlow, CtScenario, CtStep } from "./kernel_ct_scenario.ts";
import { Talk } from "./kernel_ct_talk.ts";

const OUTER = "192.0.2.1";

/** Flows of two sides for one protocol: the control connection gets the helper, others follow. */
function helped(helper: string, nat: string, family = 4): CtFlow[] {
  const [type, ip] = family === 4 ? ["0x0800", "ipv4"] : ["0x86dd", "ipv6"];
  const protocol = helper === "ftp" ? 6 : 17;
  const flow = (port: number, rest: string): string =>
    `in_port(${port}),eth(),eth_type(${type}),${ip}(proto=${protocol}),${rest}`;
  const nats = nat === "" ? "" : `,${nat}`;
  const plain = nat === "" ? "" : ",nat";
  return [
    [flow(1, "recirc_id(0)"), `ct(commit,helper=${helper}${nats}),recirc(100)`],
    [flow(2, "recirc_id(0)"), `ct(commit${plain}),recirc(100)`],
    [flow(1, "recirc_id(0x64)"), "userspace(pid=1),2"],
    [flow(2, "recirc_id(0x64)"), "userspace(pid=1),1"],
  ];
}

const ftp = (rest: Partial<ConstructorParameters<typeof Talk>[0]> = {}): Talk =>
  new Talk({ client: A.src, clientPort: 4000, server: A.dst, serverPort: 21, ...rest });

/** What both sides say until something is transferred. */
function login(talk: Talk): CtStep[] {
  return [
    ...talk.open(),
    talk.answer("220 ready\r\n"),
    ...talk.confirm(),
    talk.ask("USER anonymous\r\n"),
    talk.answer("331 password\r\n"),
    ...talk.confirm(),
  ];
}

function active(): CtStep[] {
  const talk = ftp();
  const data = { src: A.dst, dst: A.src, sport: 20 };
  return [
    ...login(talk),
    talk.ask("PORT 10,0,0,1,19,137\r\n"),
    talk.answer("200 fine\r\n"),
    ...talk.confirm(),
    send(2, { ...data, dport: 5001, flags: SYN, seq: 9 }),
    send(2, { ...data, dport: 5002, flags: SYN, seq: 9 }),
    send(2, { ...data, dport: 5001, flags: SYN, seq: 9 }),
    // Announced for somebody else, damaged, in small letters, by the wrong side, in two pieces.
    talk.ask("PORT 10,0,0,9,19,138\r\n"),
    talk.ask("PORT 10,0,0,1,19\r\n"),
    talk.ask("PORT 10,0,0,1,19,300\r\n"),
    talk.ask("port 10,0,0,1,19,139\r\n"),
    talk.ask("XPORT 10,0,0,1,19,140\r\n"),
    talk.ask("EPRT |1|10.0.0.1|5005|\r\n"),
    talk.ask("EPRT |2|fd00::1|5006|\r\n"),
    talk.ask("EPRT !1!10.0.0.1!5007!\r\n"),
    talk.answer("227 Entering Passive Mode (10,0,0,2,19,141)\r\n"),
    ...talk.confirm(),
    ...[5002, 5003, 5004, 5005, 5006, 5007].map((dport) =>
      send(2, { ...data, dport, flags: SYN, seq: 9 })
    ),
    talk.ask("PORT 10,0,0,1,"),
    talk.ask("20,1\r\n"),
    ...talk.close(),
  ];
}

function passive(): CtStep[] {
  const talk = ftp();
  const data = { ...A, sport: 6000, flags: SYN, seq: 9 };
  return [
    ...login(talk),
    talk.ask("PASV\r\n"),
    talk.answer("227 Entering Passive Mode (10,0,0,2,19,141)\r\n"),
    ...talk.confirm(),
    send(1, { ...data, dport: 5005 }),
    send(1, { ...data, dport: 5006 }),
    talk.ask("EPSV\r\n"),
    talk.answer("229 Entering Extended Passive Mode (|||5006|)\r\n"),
    ...talk.confirm(),
    send(1, { ...data, sport: 6001, dport: 5006 }),
    talk.answer("227 =10,0,0,2,19,143\r\n"),
    send(1, { ...data, sport: 6002, dport: 5007 }),
    talk.answer("227 (10,0,0,3,19,144)\r\n"),
    send(1, { ...data, sport: 6003, dport: 5008 }),
    ...talk.close(),
  ];
}

function activeTranslated(): CtStep[] {
  const talk = ftp({ seenClient: OUTER });
  const data = { src: A.dst, dst: OUTER, sport: 20, flags: SYN, seq: 9 };
  const steps = login(talk);
  const announced = talk.ask("PORT 10,0,0,1,19,137\r\n", 1);
  return [
    ...steps,
    announced,
    talk.answer("200 fine\r\n"),
    // Sent again: it is changed in the same way, and its growth counted once.
    announced,
    ...talk.confirm(),
    send(2, { ...data, dport: 5001 }),
    { reflect: 1 },
    talk.ask("NOOP\r\n"),
    talk.answer("200 fine\r\n"),
    talk.ask("EPRT |1|10.0.0.1|5003|\r\n", 1),
    talk.answer("200 fine\r\n"),
    ...talk.confirm(),
    send(2, { ...data, dport: 5003 }),
    { reflect: 1 },
    talk.ask("EPRT !1!10.0.0.1!5004!\r\n", 1),
    talk.ask("PORT 10,0,0,1,19,300\r\n", 0),
    ...talk.confirm(),
    send(2, { ...data, dport: 4908 }),
    { reflect: 1 },
    talk.ask("LIST\r\n"),
    ...talk.close(),
  ];
}

function passiveTranslated(): CtStep[] {
  // The client speaks to 10.0.0.2, which is 10.0.0.99 behind it.
  const talk = ftp({ seenServer: "10.0.0.99" });
  const data = { ...A, sport: 6000, flags: SYN, seq: 9 };
  return [
    ...login(talk),
    talk.ask("PASV\r\n"),
    talk.answer("227 Entering Passive Mode (10,0,0,99,19,141)\r\n", -1),
    ...talk.confirm(),
    send(1, { ...data, dport: 5005 }),
    { reflect: 2 },
    talk.ask("EPSV\r\n"),
    talk.answer("229 Entering Extended Passive Mode (|||5006|)\r\n"),
    ...talk.confirm(),
    send(1, { ...data, sport: 6001, dport: 5006 }),
    { reflect: 2 },
    ...talk.close(),
  ];
}

function active6(): CtStep[] {
  const talk = ftp({ client: A6.src, server: A6.dst });
  const data = { src: A6.dst, dst: A6.src, sport: 20, flags: SYN, seq: 9 };
  return [
    ...login(talk),
    talk.ask("EPRT |2|fd00::1|5001|\r\n"),
    talk.answer("200 fine\r\n"),
    send(2, { ...data, dport: 5001 }),
    talk.ask("EPSV\r\n"),
    talk.answer("229 Entering Extended Passive Mode (|||5006|)\r\n"),
    send(1, { ...A6, sport: 6001, dport: 5006, flags: SYN, seq: 9 }),
    ...talk.close(),
  ];
}

function active6Translated(): CtStep[] {
  const talk = ftp({ client: A6.src, server: A6.dst, seenClient: "2001:db8::1" });
  const data = { src: A6.dst, dst: "2001:db8::1", sport: 20, flags: SYN, seq: 9 };
  return [
    ...login(talk),
    talk.ask("EPRT |2|fd00::1|5001|\r\n", 32),
    talk.answer("200 fine\r\n"),
    ...talk.confirm(),
    send(2, { ...data, dport: 5001 }),
    { reflect: 1 },
    ...talk.close(),
  ];
}

function tftp(seen: string): CtStep[] {
  const request = (operation: number, sport: number): CtStep =>
    send(1, {
      ...A,
      protocol: UDP,
      sport,
      dport: 69,
      payload: String.fromCharCode(0, operation) + "file\0octet\0",
    });
  const data = (dport: number, sport = 3333): CtStep =>
    send(2, { src: A.dst, dst: seen, protocol: UDP, sport, dport, payload: "\0\x03\0\x01data" });
  return [
    request(1, 2000),
    data(2000),
    { reflect: 1 },
    data(2000),
    data(2000, 3334),
    request(2, 2001),
    data(2001),
    { reflect: 1 },
    request(5, 2002),
    data(2002),
    send(1, { ...A, protocol: UDP, sport: 2003, dport: 69, payload: "\0" }),
    data(2003),
  ];
}

export const HELPER_SCENARIOS: readonly CtScenario[] = [
  { name: "FTP, active", flows: helped("ftp", ""), steps: active() },
  { name: "FTP, passive", flows: helped("ftp", ""), steps: passive() },
  {
    name: "FTP, active, source translated",
    flows: helped("ftp", `nat(src=${OUTER})`),
    steps: activeTranslated(),
  },
  {
    name: "FTP, passive, destination translated",
    flows: helped("ftp", "nat(dst=10.0.0.99)"),
    steps: passiveTranslated(),
  },
  { name: "FTP, IPv6", flows: helped("ftp", "", 6), steps: active6() },
  {
    name: "FTP, IPv6, source translated",
    flows: helped("ftp", "nat(src=2001:db8::1)", 6),
    steps: active6Translated(),
  },
  { name: "TFTP", flows: helped("tftp", ""), steps: tftp(A.src) },
  {
    name: "TFTP, source translated",
    flows: helped("tftp", `nat(src=${OUTER})`),
    steps: tftp(OUTER),
  },
];
