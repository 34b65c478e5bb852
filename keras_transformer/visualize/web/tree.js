// A beam search as a tree: a column for each step, the candidates of a step from best to worst.

import { element, number, say, shortened, visible } from "./dom.js";

const STEP = 118;
const ROW = 42;
const BOX = [88, 32];
const TOP = 26;

/**
 * Returns the length penalty by which the sum of a hypothesis's log-probabilities is divided.
 *
 * @param {number} length - Number of tokens, the end token included.
 * @param {number} alpha - The length penalty's exponent.
 * @param {string} normalization - "gnmt", ((5 + length) / 6) ** alpha, or "length", length ** alpha.
 */
export function lengthPenalty(length, alpha, normalization) {
  return normalization === "length" ? length ** alpha : ((5 + length) / 6) ** alpha;
}

/**
 * Draws a beam tree.
 *
 * @param {Element} parent - Where to append it.
 * @param {object} data - What `kt.visualize.beam_tree` records (its `data`), and optionally
 *   selected: index of the hypothesis whose path is marked; onSelect(index).
 * @returns {{element: Element, update: function(object)}}
 */
export function tree(parent, data) {
  const view = new TreeView(data);
  parent.append(view.element);
  view.update({});
  return { element: view.element, update: (changes) => view.update(changes) };
}

class TreeView {
  constructor(data) {
    this.data = { selected: 0, ...data };
    this.scroller = element("div", { class: "kt-tree-scroller" });
    this.readout = element("output", { class: "kt-readout", "aria-live": "polite" });
    this.list = element("ol", { class: "kt-hypotheses" });
    const key = ["alive", "finished", "pruned"].map((state) =>
      element("span", { class: `kt-key kt-node-${state}`, text: say(state) }),
    );
    this.element = element("figure", { class: "kt-tree" }, [
      element("div", { class: "kt-foot" }, [this.readout, element("span", { class: "kt-keys" }, key)]),
      this.scroller,
      this.list,
    ]);
    this.focused = null;
  }

  update(changes) {
    Object.assign(this.data, changes);
    this.drawTree();
    this.drawHypotheses();
    this.mark();
  }

  place(step, index) {
    return [12 + (step + 1) * STEP, TOP + index * ROW];
  }

  drawTree() {
    const { steps } = this.data;
    const rows = Math.max(1, ...steps.map((step) => step.length));
    const size = [this.place(steps.length, 0)[0], TOP + rows * ROW + 4];
    const svg = element("svg:svg", {
      class: "kt-tree-drawing",
      width: size[0],
      height: size[1],
      role: "application",
      "aria-roledescription": "tree",
      "aria-label": `Beam search of ${steps.length} steps; arrow keys go from candidate to candidate`,
      tabindex: 0,
    });
    svg.addEventListener("keydown", (event) => this.press(event));
    svg.addEventListener("focus", () => this.focused ?? this.point([0, 0]));
    svg.addEventListener("pointerleave", () => this.point(null));
    const edges = element("svg:g", {});
    const nodes = element("svg:g", {});
    svg.append(edges, nodes);
    nodes.append(this.root());
    this.parts = steps.map((candidates, step) => {
      nodes.append(element("svg:text", { class: "kt-step", x: this.place(step, 0)[0], y: 14, text: say("step {step}", { step: step + 1 }) }));
      return candidates.map((candidate, index) => {
        const part = { edge: this.edge(candidate, step, index), node: this.node(candidate, step, index) };
        edges.append(part.edge);
        nodes.append(part.node);
        return part;
      });
    });
    this.scroller.replaceChildren(svg);
  }

  root() {
    const [x, y] = this.place(-1, 0);
    return element("svg:g", { class: "kt-node kt-node-alive" }, [
      element("svg:rect", { x, y, width: 64, height: BOX[1], rx: 6 }),
      element("svg:text", { x: x + 32, y: y + 20, "text-anchor": "middle", text: say("start") }),
    ]);
  }

  edge({ parent, state }, step, index) {
    const [x, y] = this.place(step, index);
    const [px, py] = this.place(step - 1, parent ?? 0);
    const start = px + (step === 0 ? 64 : BOX[0]);
    const [from, to] = [py + BOX[1] / 2, y + BOX[1] / 2];
    const middle = (start + x) / 2;
    const d = `M${start} ${from} C${middle} ${from} ${middle} ${to} ${x} ${to}`;
    return element("svg:path", { class: `kt-edge kt-edge-${state}`, d });
  }

  node(candidate, step, index) {
    const [x, y] = this.place(step, index);
    const context = (this.measure ??= document.createElement("canvas").getContext("2d"));
    context.font = "12px sans-serif";
    const text = shortened(context, visible(candidate.token), BOX[0] - 10);
    const sum = candidate.score === null ? candidate.total : candidate.score;
    const node = element("svg:g", { class: `kt-node kt-node-${candidate.state}` }, [
      element("svg:rect", { x, y, width: BOX[0], height: BOX[1], rx: 6 }),
      element("svg:text", { x: x + BOX[0] / 2, y: y + 14, "text-anchor": "middle", text }),
      element("svg:text", {
        class: "kt-small",
        x: x + BOX[0] / 2,
        y: y + 27,
        "text-anchor": "middle",
        text: sum.toFixed(2).replace("-", "−"),
      }),
    ]);
    node.addEventListener("pointerenter", () => this.point([step, index]));
    node.addEventListener("click", () => this.chooseThrough(step, index));
    return node;
  }

  drawHypotheses() {
    const { hypotheses, selected } = this.data;
    this.list.replaceChildren(
      ...hypotheses.map((hypothesis, i) => {
        const button = element("button", { type: "button", class: "kt-hypothesis" }, [
          element("span", { dir: "auto", text: hypothesis.text || "∅" }),
          element("span", { class: "kt-small", text: ` ${number(hypothesis.score, 3)}` }),
        ]);
        button.setAttribute("aria-pressed", String(i === selected));
        button.addEventListener("click", () => this.choose(i));
        return element("li", {}, [button]);
      }),
    );
  }

  /** Marks the path of the hypothesis chosen, or of the candidate pointed at. */
  mark() {
    const { hypotheses, selected } = this.data;
    const path = this.focused ? this.pathTo(...this.focused) : (hypotheses[selected]?.path ?? []);
    const marked = new Set(path.map(([step, index]) => `${step} ${index}`));
    this.parts.forEach((column, step) =>
      column.forEach(({ edge, node }, index) => {
        const isMarked = marked.has(`${step} ${index}`);
        edge.classList.toggle("kt-marked", isMarked);
        node.classList.toggle("kt-marked", isMarked);
        node.classList.toggle("kt-focused", this.focused?.[0] === step && this.focused?.[1] === index);
      }),
    );
    [...this.list.querySelectorAll("button")].forEach((button, i) =>
      button.setAttribute("aria-pressed", String(i === selected)),
    );
  }

  pathTo(step, index) {
    const path = [];
    for (let i = index; step >= 0; step -= 1) {
      path.unshift([step, i]);
      i = this.data.steps[step][i].parent;
    }
    return path;
  }

  point(cell) {
    this.focused = cell && this.data.steps[cell[0]]?.[cell[1]] ? cell : null;
    this.readout.textContent = this.focused ? this.describe(...this.focused) : "";
    this.mark();
  }

  describe(step, index) {
    const { token, log_prob: own, total, score, state } = this.data.steps[step][index];
    const parts = [
      say("step {step}, rank {rank}: {token}", {
        step: step + 1, rank: index + 1, token: `\u2068${visible(token)}\u2069`,
      }),
      say("log-probability {value} ({share})", { value: number(own, 3), share: number(Math.exp(own), 3) }),
      say("sum {value}", { value: number(total, 3) }),
    ];
    if (score !== null) parts.push(say("score {value}", { value: number(score, 3) }));
    return `${parts.join(", ")}, ${say(state)}`;
  }

  choose(index) {
    this.data.selected = index;
    this.mark();
    this.data.onSelect?.(index);
  }

  chooseThrough(step, index) {
    const through = ({ path }) => path.some(([s, i]) => s === step && i === index);
    const found = this.data.hypotheses.findIndex(through);
    if (found >= 0) this.choose(found);
  }

  press(event) {
    const { steps } = this.data;
    const [step, index] = this.focused ?? [0, 0];
    const child = steps[step + 1]?.findIndex(({ parent }) => parent === index);
    const moves = {
      ArrowUp: [step, index - 1],
      ArrowDown: [step, index + 1],
      ArrowLeft: [step - 1, steps[step]?.[index]?.parent ?? 0],
      ArrowRight: child >= 0 ? [step + 1, child] : [step, index],
      Home: [0, 0],
    };
    if (event.key === "Enter") this.chooseThrough(step, index);
    else if (event.key in moves) {
      const [s, i] = moves[event.key];
      if (steps[s]?.[i]) this.point([s, i]);
      this.reveal();
    } else return;
    event.preventDefault();
  }

  reveal() {
    if (!this.focused) return;
    const [x] = this.place(...this.focused);
    const { scroller } = this;
    if (x < scroller.scrollLeft) scroller.scrollLeft = x - 8;
    const right = x + BOX[0] - scroller.clientWidth;
    if (right > scroller.scrollLeft) scroller.scrollLeft = right + 8;
  }
}
