/** The conformance suite's VportHost under the name that tests of sockets and peers know it by. */
export { ConformanceHost as TestHost } from "../vports/conformance_host.ts";
