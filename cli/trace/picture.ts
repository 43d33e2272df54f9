/** Graphs as pictures: Graphviz as WebAssembly, loaded when a picture is asked for. */
import { instance } from "@viz-js/viz";

/** SVG of a graph in Graphviz's language. */
export async function toSvg(dot: string): Promise<string> {
  const graphviz = await instance();
  return graphviz.renderString(dot, { format: "svg" });
}
