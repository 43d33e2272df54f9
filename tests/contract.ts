/** The conformance suite (vports/conformance.ts) under the names that tests know it by. */
export {
  type ConformanceSubject as ContractSubject,
  frameOf,
  type Peer,
  testVport as testVportContract,
} from "../vports/conformance.ts";
