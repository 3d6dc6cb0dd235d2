/**
 * Returns the classes with the highest scores.
 *
 * @param {ArrayLike<number>} scores
 * @param {"logits" | "probabilities"} output what they are
 * @param {string[]} labels names of the classes, or an empty list
 * @param {number} most
 * @returns {{label: string, probability: number}[]}
 */
export function best(scores, output, labels, most = 5) {
  const values = Array.from(scores, Number);
  if (!values.every(Number.isFinite)) throw new Error("the network's results are not numbers");
  const probabilities = output === "logits" ? softmax(values) : values;
  const order = [...probabilities.keys()].sort((a, b) => values[b] - values[a]);
  return order.slice(0, most).map((place) => ({
    label: labels[place] ?? `class ${place}`,
    probability: probabilities[place],
  }));
}

function softmax(values) {
  const highest = values.reduce((a, b) => Math.max(a, b));
  const powers = values.map((value) => Math.exp(value - highest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}
